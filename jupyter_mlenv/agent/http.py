"""HTTP/1.1 as the agent speaks it: requests with a token, answers in JSON, frames after an upgrade."""

from __future__ import annotations

import signal
import time

from .channel import CHUNK_BYTES, linger
from .loop import until

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from .channel import Channel
    from .loop import Waiters

    # The answer, as a dictionary or as JSON; None if the connection speaks no HTTP any more.
    Handler = Callable[["Connection", "Request", str], Awaitable["dict[str, Any] | bytes | None"]]
    Routes = dict[str, Handler]

MAX_HEAD_BYTES = 65536  # of a request
MAX_BODY_BYTES = 1 << 20  # of a request, or of a frame
HEAD_TIMEOUT_SECONDS = 10.0  # for the first request of a connection
KEEPALIVE_SECONDS = 300.0  # that a connection is kept between requests
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


class Refused(Exception):
    """An error answer: HTTP status, code, message, more fields."""

    def __init__(self, status: int, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = dict(fields, code=code, message=message)


class Request:
    """A request; `body` is read before it is handled."""

    def __init__(self, method: str, target: str, headers: dict[str, str]) -> None:
        self.method, self.target, self.headers = method, target, headers
        self.body = b""

    def json(self) -> dict[str, Any]:
        import json  # noqa: PLC0415

        try:
            value = json.loads(self.body.decode() or "{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(400, "bad_request", "The body is not a JSON object.")
        return value


class Connection:
    """A client. `buffer` holds what has been read and not yet been taken."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.buffer = bytearray()
        self.chunk = memoryview(bytearray(CHUNK_BYTES))
        self.timeout = HEAD_TIMEOUT_SECONDS
        self.sending = False
        self.sent: Waiters = []

    async def fill(self, timeout: float | None = None) -> int:
        count = await self.channel.read_into(self.chunk, timeout)
        self.buffer += self.chunk[:count]
        return count

    async def take(self, size: int, timeout: float | None = None) -> bytes:
        """Exactly `size` bytes. Raises EOFError."""
        while len(self.buffer) < size:
            if not await self.fill(timeout):
                raise EOFError
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def request(self, authorized: Callable[[str], bool]) -> Request:
        """The next request. Raises EOFError at the end, Refused; without the token no body is read."""
        deadline = time.monotonic() + self.timeout
        self.timeout = KEEPALIVE_SECONDS
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > MAX_HEAD_BYTES:
                raise Refused(431, "too_large", "The request's head is too large.")
            if not await self.fill(max(0.0, deadline - time.monotonic())):
                raise EOFError
        lines = (await self.take(self.buffer.find(b"\r\n\r\n") + 4)).decode("latin-1").split("\r\n")[:-2]
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Refused(400, "bad_request", "This is not an HTTP/1.1 request.")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or name.lower() in headers:
                raise Refused(400, "bad_request", "A header is malformed or comes twice.")
            headers[name.lower()] = value.strip()
        if not authorized(headers.get("authorization", "")):
            raise Refused(401, "unauthorized", "The token is missing or wrong.")
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Refused(411, "length_required", "The body needs a Content-Length.")
        if int(length) > MAX_BODY_BYTES:
            raise Refused(413, "too_large", f"The body is larger than {MAX_BODY_BYTES} bytes.")
        request = Request(words[0], words[1], headers)
        request.body = await self.take(int(length), HEAD_TIMEOUT_SECONDS)
        return request

    async def answer(self, status: int, body: bytes, more: str = "") -> None:
        head = "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n"
        text = head.format(status, "OK" if status < 300 else "Error", len(body), more)
        await self.channel.write(text.encode() + body)

    async def refuse(self, refused: Refused) -> None:
        """The last answer."""
        await self.answer(refused.status, dumps({"error": refused.body}), "Connection: close\r\n")
        await linger(self.channel)

    async def frame(self, kind: int, payload: bytes) -> None:
        """One frame, whole, even if several tasks send."""
        await until(self.sent, lambda: not self.sending)
        self.sending = True
        try:
            await self.channel.write(bytes([kind]) + len(payload).to_bytes(4, "big") + payload)
        finally:
            self.sending = False
            self.channel.loop.fire(self.sent)


def want(body: dict[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    """A field of a body, of the right type. Raises Refused."""
    value = body.get(name)
    value = default if value is None else value
    if kind == "argv":
        good = isinstance(value, list) and value and all(isinstance(v, str) and "\0" not in v for v in value)
    elif kind == "map":
        good = isinstance(value, dict) and all(isinstance(v, (str, int, float)) for v in value.values())
    elif kind is float:
        good = isinstance(value, (int, float)) and 0 < value <= 86400
    else:
        good = isinstance(value, kind) and "\0" not in str(value)
    if not good:
        raise Refused(400, "bad_request", f"`{name}` is missing or has the wrong type or value.")
    return value


def signal_number(name: object) -> signal.Signals:
    number = getattr(signal, str(name), None)
    if not isinstance(number, signal.Signals):
        raise Refused(400, "bad_request", f"There is no signal {name}.")
    return number


def dumps(value: object) -> bytes:
    import json  # noqa: PLC0415  8 ms that starting does not need

    return json.dumps(value).encode()


def find(routes: Routes, method: str, words: list[str]) -> Handler:
    """Return the handler of a path below an area; the first word is a key. Raises Refused.

    The keys of `routes` are `METHOD`, `METHOD *` for one thing, and `METHOD */verb`.
    """
    path = "/".join(["*", *words[1:]]) if words and words[0] else "/".join(words)
    handler = routes.get(f"{method} {path}".rstrip())
    if handler is not None:
        return handler
    if path in {known.partition(" ")[2] for known in routes}:
        raise Refused(405, "bad_method", f"{method} is not possible there.")
    raise Refused(404, "not_found", "There is nothing at this path.")
