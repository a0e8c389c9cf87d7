"""Serves one endpoint of an environment to a browser on this machine, when no Jupyter server does.

The address holds a secret, and a connection is relayed only if its first request names it. Every request gets a
connection of its own (`Connection: close`), so that first request is the only one; upgrades become a raw splice.
Browsers send cookies to every port of a host: what another Jupyter server on this machine has set must neither reach
the container nor be overwritten by it, so heads are scrubbed as in the server's own proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable

from ..errors import MlenvError
from ..server import http1, scrub

HEAD_LIMIT = 64 * 1024
"""Bytes of one request's or answer's headers; tornado, which most services run, takes as many."""

CHUNK = 256 * 1024
"""Bytes copied at a time."""

Connect = Callable[[], Awaitable[socket.socket]]

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

_REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/1\.1")


def new_secret() -> str:
    """A base URL that nobody can guess (32 random bytes)."""
    return f"/{secrets.token_urlsafe(32)}/"


def request_head(head: bytes, secret: str, cookies: scrub.CookieRule, host: str) -> bytes:
    """The head of a request as the service gets it; empty if it is none, or none for an address below `secret`."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match = _REQUEST.fullmatch(first)
    if match is None or not match["target"].startswith(secret):
        return b""
    headers = [(name.strip(), value.strip()) for name, mark, value in (line.partition(":") for line in lines) if mark]
    kept = scrub.request_headers(headers, cookies, scrub.Client(host, "http", "127.0.0.1"))
    upgrade = [(name, value) for name, value in headers if name.lower() == "upgrade"]
    kept += [("Connection", "Upgrade"), *upgrade] if upgrade else [("Connection", "close")]
    kept += _framing(headers)
    return http1.request_head(match["method"], match["target"], kept)


def answer_head(head: bytes, cookies: scrub.CookieRule) -> tuple[int, bytes]:
    """The status of an answer, and its head as the browser gets it. Raises http1.ProtocolError."""
    parsed = http1.parse_head(head.removesuffix(b"\r\n\r\n"))
    kept = scrub.response_headers(parsed.headers, cookies)
    if parsed.status == 101:
        kept += [("Connection", "Upgrade"), *(("Upgrade", value) for value in parsed.values("upgrade"))]
    elif parsed.status >= 200:
        kept += [("Connection", "close"), *_framing(parsed.headers)]
    return parsed.status, http1.response_head(parsed.status, parsed.reason, kept)


def _framing(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Bodies are copied as they are, so how they are delimited must stay, although it is a matter of one connection."""
    return [(name, value) for name, value in headers if name.lower() in ("transfer-encoding", "trailer")]


class Relay:
    """Listens on 127.0.0.1 and relays connections that know `secret` (a base URL) to what `connect` gives.

    `cookies` are the rules for the endpoint behind it, as in the server's proxy.
    """

    def __init__(self, secret: str, cookies: scrub.CookieRule, connect: Connect) -> None:
        self._secret = secret
        self._cookies = cookies
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen; the port. Raises OSError if it is taken."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port, limit=HEAD_LIMIT)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError):  # either side went away
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # close() ends us; asyncio's server would log the cancellation
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = "{}:{}".format(*writer.get_extra_info("sockname"))
        try:
            head = request_head(await reader.readuntil(b"\r\n\r\n"), self._secret, self._cookies, host)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        if not head:
            writer.write(NOT_FOUND)
            await writer.drain()
            return
        try:
            inner, inward = await asyncio.open_connection(sock=await self._connect(), limit=HEAD_LIMIT)
        except (OSError, MlenvError) as error:
            writer.write(BAD_GATEWAY + f"{error}\n".encode())
            await writer.drain()
            return
        inward.write(head)
        try:
            await _both(_copy(reader, inward), self._answer(inner, writer))
        except (http1.ProtocolError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            writer.write(BAD_GATEWAY + f"The service did not give an answer in HTTP: {error}\n".encode())
        finally:
            inward.close()

    async def _answer(self, inner: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = 100
        # Interim answers (100, 103) come before the real one; after 101 the connection is no longer HTTP.
        while 100 <= status < 200 and status != 101:
            status, head = answer_head(await inner.readuntil(b"\r\n\r\n"), self._cookies)
            writer.write(head)
        await _copy(inner, writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, at the reader's pace, and pass the end on."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):  # the other side is gone already
        writer.write_eof()


async def _both(request: Awaitable[None], answer: Awaitable[None]) -> None:
    """Until the answer is complete; a request that never ends (a half-open browser) does not keep it open."""
    sending = asyncio.ensure_future(request)
    try:
        await answer
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
