"""A server of one endpoint of an environment for a browser on this machine, where no Jupyter server is.

The address holds a secret, and only a request that names it is relayed. What passes, either way, is decided as in the
server's own proxy (`proxy/exchange.py`, `proxy/connection.py`): browsers send cookies to every port of a host, so what
another Jupyter server on this machine has set must neither reach the container nor be overwritten by it.

Every request gets a connection of its own (`Connection: close`); upgrades become a raw splice.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
from collections.abc import Awaitable, Callable

from tornado.httputil import HTTPHeaders

from ..errors import MlenvError
from . import headers as scrub
from .bodies import body_of_request
from .connection import READ_BYTES, Connection, UpstreamLost, over
from .credentials import Credentials
from .exchange import BODILESS_STATUSES, Exchange
from .http1 import ProtocolError, Request, parse_request, response_head
from .origin import foreign
from .splice import Splices

MAX_REQUEST_HEAD_BYTES = 64 * 1024
"""Bytes of one request's head; tornado, which most services run, takes as many."""

CLOSE_GRACE_SECONDS = 1.0
"""Seconds that a browser gets to close its side after the answer, so that it does not lose the end of it."""

ACCEPT_RETRY_SECONDS = 1.0
"""Seconds until connections are accepted again after this process has run out of descriptors."""

LOCAL_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
"""Hosts in the address bar of whoever was told the address, also by way of a forwarded port. Another name could be any
web site's that has its own name point here (DNS rebinding)."""

Connect = Callable[[], Awaitable[socket.socket]]


def new_secret() -> str:
    """Return a base URL that nobody can guess (32 random bytes)."""
    return f"/{secrets.token_urlsafe(32)}/"


class Refused(Exception):
    """An answer instead of relaying: a status with its phrase, and a text."""

    def __init__(self, status: int, phrase: str, text: str = "") -> None:
        self.status, self.phrase, self.text = status, phrase, text

    def answer(self) -> bytes:
        body = f"{self.text}\n".encode() if self.text else b""
        fields = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        return response_head(self.status, self.phrase, fields) + body


class LocalServer:
    """A listener on 127.0.0.1 that relays requests which know `secret` (a base URL) to what `connect` gives.

    `cookies` are the rules for the endpoint behind it, as in the server's proxy; their path is the endpoint's address,
    and nothing else is served. `at_root`: the endpoint sees paths below that address only.
    """

    def __init__(self, secret: str, cookies: scrub.CookieRule, connect: Connect, *, at_root: bool = False) -> None:
        self._secret = secret
        self._cookies = cookies
        self._connect = connect
        self._at_root = at_root
        self._splices = Splices()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None

    async def start(self, port: int = 0) -> int:
        """Listen, and return the port. Raises OSError if it is taken."""
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self._spawn(self._accept(self._listener))
        return int(self._listener.getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        await self._splices.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(_Relayed(self, client).serve())


class _Relayed:
    """One connection of a browser, with one request."""

    def __init__(self, server: LocalServer, client: socket.socket) -> None:
        self._server = server
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._taken = False  # The client's socket is a splice's now.

    async def serve(self) -> None:
        try:
            with contextlib.suppress(OSError):  # either side went away
                try:
                    await self._serve()
                except Refused as refused:
                    await self._loop.sock_sendall(self._client, refused.answer())
        finally:
            if not self._taken:
                self._client.close()

    async def _serve(self) -> None:
        head, early = await self._head()
        if not head:
            return
        request = self._admitted(head)
        cookies = self._server._cookies
        endpoint = cookies.path.rstrip("/").rpartition("/")[2]
        client = scrub.Client(request.get("host"), "http", "127.0.0.1")
        # Nobody logs in here: what a page sends besides cookies is the application's own.
        own, at_root = Credentials(told=True), self._server._at_root
        exchange = Exchange(endpoint, request.target, cookies, client, credentials=own, at_root=at_root)
        upgrade = request.upgrades()
        said = exchange.request(request.method, request.headers, upgrade=upgrade, chunked=request.chunked())
        try:
            connection = await over(None, await self._server._connect(), self._server._buffer)
        except (OSError, MlenvError) as error:
            raise Refused(502, "Bad Gateway", str(error)) from error
        try:
            has_body = not body_of_request(request).done
            connection.begin(said, request.method, chunked=request.chunked(), has_body=has_body, upgrade=upgrade)
            if upgrade:
                await self._answer(connection, exchange, request, early)
                return
            sending = asyncio.create_task(self._send(connection, request, early))
            try:
                await self._answer(connection, exchange, request, early)
                self._client.shutdown(socket.SHUT_WR)
                await asyncio.wait({sending}, timeout=CLOSE_GRACE_SECONDS)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            connection.abort()

    async def _head(self) -> tuple[bytes, bytes]:
        """Return the request's head, and what has come behind it; two empty texts if there is none."""
        data = bytearray()
        while (stop := data.find(b"\r\n\r\n")) < 0:
            if len(data) >= MAX_REQUEST_HEAD_BYTES:
                return b"", b""
            piece = await self._loop.sock_recv(self._client, MAX_REQUEST_HEAD_BYTES)
            if not piece:
                return b"", b""
            data += piece
        return bytes(data[:stop]), bytes(data[stop + 4 :])

    def _admitted(self, head: bytes) -> Request:
        """Return the request, which knows the address and comes from no other site. Raises Refused."""
        target = head.partition(b"\r\n")[0].partition(b" ")[2]
        if not secrets.compare_digest(target[: len(self._server._secret)], self._server._secret.encode()):
            raise Refused(404, "Not Found")
        try:
            request = parse_request(head)
        except ProtocolError as error:
            raise Refused(400, "Bad Request", f"This is no HTTP request: {error}.") from error
        if not request.target.startswith(self._server._cookies.path):
            raise Refused(404, "Not Found")
        if LOCAL_HOST.fullmatch(request.get("host")) is None:
            raise Refused(403, "Forbidden", "Open the address as it was printed, with 127.0.0.1 or localhost.")
        headers = HTTPHeaders()
        for name, value in request.headers:
            headers.add(name, value)
        if foreign(headers):
            raise Refused(403, "Forbidden", "Refused, because another web site asks.")
        if request.upgrades() and not body_of_request(request).done:
            raise Refused(400, "Bad Request", "An upgrade cannot have a body.")
        return request

    async def _send(self, connection: Connection, request: Request, data: bytes) -> None:
        """Send the request's body. What follows it is nobody's; a browser that leaves lets go of the service."""
        body = body_of_request(request)
        if not body.done and request.get("expect").lower() == "100-continue":
            await self._loop.sock_sendall(self._client, response_head(100, "Continue", []))
        while not body.done:
            if not data:
                data = await self._loop.sock_recv(self._client, READ_BYTES)
                if not data:
                    connection.abort()
                    return
            try:
                pieces, data = body.feed(data)
            except ProtocolError:
                connection.abort()
                return
            for piece in pieces:
                await connection.write(piece)
            await asyncio.sleep(0)
        connection.finish()
        while await self._loop.sock_recv(self._client, READ_BYTES):
            pass
        connection.abort()

    async def _answer(self, connection: Connection, exchange: Exchange, request: Request, early: bytes) -> None:
        try:
            head = await connection.head()
            if head.status == 101:
                answer = exchange.switch(head)
                service, rest = connection.detach()
                self._taken = True
                self._server._splices.sockets(self._client, service, answer + rest, early)
                return
            fields = [*exchange.answer(head), ("Connection", "close")]
        except (UpstreamLost, ProtocolError) as error:
            raise Refused(502, "Bad Gateway", f"The service did not give an answer in HTTP: {error}.") from error
        bare = request.method == "HEAD" or head.status in BODILESS_STATUSES
        chunked = not bare and not any(name.lower() == "content-length" for name, _ in fields)
        if chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        await self._loop.sock_sendall(self._client, response_head(head.status, head.reason, fields))
        with contextlib.suppress(UpstreamLost, ProtocolError):  # a body that breaks off: the browser sees no end of it
            while piece := await connection.read():
                framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                await self._loop.sock_sendall(self._client, framed)
            if chunked:
                await self._loop.sock_sendall(self._client, b"0\r\n\r\n")
