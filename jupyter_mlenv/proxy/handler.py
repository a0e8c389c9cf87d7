"""The door from the browser to the services inside environments, under `<base_url>mlenv/envs/{id}/{endpoint}/`, and
to apps that know of no prefix, under `<base_url>mlenv/apps/{id}/{port}/`.

It asks for the outer server's login (`auth.py`), takes everything that belongs to the outer server out
(`headers.py`), and then streams both ways with back-pressure. Request targets pass untouched, but for that prefix:
services are started under exactly the base URL that the browser sees. An upgrade becomes a raw byte splice after the
handshake.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import Any, cast

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders
from tornado.iostream import SSLIOStream, StreamClosedError

from .. import urls
from ..errors import MlenvError
from ..http_errors import reason_phrase
from . import headers as scrub
from .auth import AdmissionHandler
from .connection import Connection, UpstreamLost
from .exchange import Exchange, framing, in_sandbox
from .http1 import Head, ProtocolError
from .service import Service
from .splice import take_over
from .state import Proxy

__all__ = ["Proxy", "ProxyHandler", "proxy_handlers"]

REPEATABLE = frozenset(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
"""Methods that may be sent again when a kept connection turns out to be closed (RFC 9110 9.2.2)."""

MAX_DISCARDED_BYTES = 256 * 1024 * 1024
"""Bytes of a refused request's body that are read, so that the client sees the answer instead of a reset."""

UNLIMITED_BYTES = 1 << 62
"""Bytes of a request's body."""


def proxy_handlers(base_url: str, proxy: Proxy) -> list[tuple[str, type[web.RequestHandler], dict[str, Any]]]:
    """Return the handlers to add to a web application whose `settings["base_url"]` is `base_url`.

    Whoever made the proxy closes it when the server stops.
    """
    below = "|".join(re.escape(base_url + path) for path in (urls.ENVIRONMENTS, urls.APPS))
    pattern = rf"(?:{below})([^/]+)/([^/]+)(?:/.*)?"
    return [(pattern, ProxyHandler, {"proxy": proxy})]


@web.stream_request_body
class ProxyHandler(AdmissionHandler):
    """One proxied request, or one upgrade.

    A request with a body is forwarded from `prepare` on, since tornado calls the verb's method after the last byte.
    """

    def initialize(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.upstream: Connection | None = None
        self.gone = False
        self.refused: web.HTTPError | MlenvError | None = None
        self.forwarding: asyncio.Task[None] | None = None
        self.ready: asyncio.Future[None] | None = None  # The service takes the body now, or never will.
        self.discarded = 0

    async def prepare(self) -> None:  # type: ignore[override]
        self.connection.set_max_body_size(UNLIMITED_BYTES)
        has_body = self._has_body()
        try:
            if has_body and self.upgrades:
                raise web.HTTPError(400, "An upgrade cannot have a body.")
            await self.admit(self.proxy.logins)
            self.address = urls.parse_endpoint(self.request.path, self.base_url)
            if "Service-Worker" in self.request.headers and in_sandbox(self.address.endpoint, self.address.rest or ""):
                raise web.HTTPError(403, "A file of the project may not become a service worker.")
        except (web.HTTPError, MlenvError) as error:
            if isinstance(error, web.HTTPError) and has_body and "Expect" in self.request.headers:
                raise
            # Answered by `_serve`, when the body was read: tornado drops the connection with an answer given before.
            self.refused = error
            return
        if not has_body or self.asks or self.address.rest is None:
            return
        self.ready = asyncio.get_running_loop().create_future()
        self.forwarding = asyncio.create_task(self._forward(has_body=True))

    # `admit` has asked for a login before any verb is called, and answers a person who has none in its own way.
    @allow_unauthenticated
    async def _serve(self, *_: str) -> None:
        if isinstance(self.refused, MlenvError):
            self.answer_error(self.refused)
            return
        if self.refused is not None:
            self.refuse(self.refused)
            return
        if self.asks:
            self.answer_question()
            return
        if self.address.rest is None:
            mark, query = (self.request.uri or "").partition("?")[1:]
            self.redirect(
                f"./{self.address.endpoint}/{mark}{query}",
                status=302 if self.request.method in ("GET", "HEAD") else 308,
            )
            return
        if self.forwarding is None:
            await self._forward(has_body=False)
            return
        if self.ready is not None:
            await self.ready  # A chunked body may be empty, and over before there is a connection to end it on.
        if self.upstream is not None:
            self.upstream.finish()
        await self.forwarding

    get = head = post = put = patch = delete = options = _serve

    async def data_received(self, chunk: bytes) -> None:
        if self.ready is not None and not self.ready.done():
            await self.ready
        if self.upstream is not None and not self.upstream.done:
            await self.upstream.write(chunk)
            return
        self.discarded += len(chunk)
        if self.discarded > MAX_DISCARDED_BYTES:
            self.connection.close()

    def on_connection_close(self) -> None:
        """Let go of the service at once: the browser is gone."""
        self.gone = True
        if self.upstream is not None:
            self.upstream.abort()
        self._be_ready()
        super().on_connection_close()

    async def _forward(self, *, has_body: bool) -> None:
        """Send the request on and copy the answer; an error becomes the answer if none was begun."""
        self.proxy.activity = self.settings.setdefault("last_activity_times", {})
        self.proxy.touch(self.address.endpoint)
        try:
            self.exchange = self._exchange_rules()
            self.service = Service(self.proxy.resolver, self.proxy.pool, self.address, self.base_url)
            head = await self._asked(has_body)
            if head.status == 101:
                self._switch(head)
            else:
                await self._copy(head)
        except (UpstreamLost, ProtocolError) as error:
            self.service.forget()
            self._fail(self.service.broken(error))
        except MlenvError as error:
            self._fail(error)
        except StreamClosedError:
            self.gone = True
        finally:
            self._be_ready()
            self._auto_finish = not self.gone
            if self.upstream is not None:
                self.proxy.pool.release(self.upstream)

    async def _asked(self, has_body: bool) -> Head:
        """Send the request's head, return the answer's; the body follows through `data_received`.

        An idle connection may turn out to be one that the service has just closed. Where the request can be repeated
        it is, once; where it cannot, it gets a connection of its own from the start.
        """
        method = self.request.method or "GET"
        chunked = "Transfer-Encoding" in self.request.headers
        fields = list(self.request.headers.get_all())
        request = self.exchange.request(method, fields, upgrade=self.upgrades, chunked=chunked)
        repeatable = not has_body and method in REPEATABLE
        upstream = await self.service.connect(fresh=not repeatable)
        while True:
            self.upstream = upstream
            if self.gone:
                raise StreamClosedError
            upstream.begin(request, method, chunked=chunked, has_body=has_body, upgrade=self.upgrades)
            self._be_ready()
            try:
                return await upstream.head()
            except UpstreamLost:
                if self.gone or not (repeatable and upstream.reused and not upstream.answered):
                    raise
                self.proxy.pool.release(upstream)
            upstream = await self.service.connect(fresh=True)

    def _exchange_rules(self) -> Exchange:
        request, endpoint = self.request, self.address.endpoint
        login = self.identity_provider.get_cookie_name(self)
        cookies = scrub.CookieRule(login, self.address.base_path, endpoint not in scrub.COOKIELESS)
        client = scrub.Client(request.headers.get("Host", ""), request.protocol, request.remote_ip or "")
        framed_by = framing(self.content_security_policy)
        return Exchange(
            endpoint,
            request.uri or "/",
            cookies,
            client,
            framed_by,
            self.cross_origin,
            self.credentials,
            self.address.at_root,
        )

    async def _copy(self, head: Head) -> None:
        upstream = cast(Connection, self.upstream)
        self._set_head(head)
        if upstream.done and self.request.method != "HEAD" and head.status not in (204, 304):
            self.write(upstream.take())  # All of it is here already: one write, at the end.
            return
        # Small pieces, such as server-sent events, must not wait for the acknowledgement of the piece before.
        self.connection.stream.set_nodelay(True)
        await self.flush()
        while piece := await upstream.read():
            await self.connection.write(piece)

    def _set_head(self, head: Head) -> None:
        headers = HTTPHeaders()
        for name, value in self.exchange.answer(head):
            headers.add(name, value)
        self.set_status(head.status, head.reason or reason_phrase(head.status))
        self._headers = headers
        self._transforms = []  # tornado would compress what the service chose not to.

    def _switch(self, head: Head) -> None:
        """Join the sockets of both sides, which agreed to speak something else."""
        answer = self.exchange.switch(head)
        sock, rest = cast(Connection, self.upstream).detach()
        answer += rest
        self.set_status(101)
        self._log()
        stream = self.detach()
        splices = self.proxy.splices(self.address.endpoint)
        if isinstance(stream, SSLIOStream):
            splices.stream(stream, sock, answer)
            return
        try:
            client, early = take_over(stream)
        except StreamClosedError:
            sock.close()
            return
        splices.sockets(client, sock, answer, early)

    def _fail(self, error: MlenvError) -> None:
        if self.gone:
            return
        if not self._headers_written:
            self.answer_error(error)
            return
        self.log.warning("%s Its answer was cut off.", error.message)
        if "Content-Length" not in self._headers and self.request.version == "HTTP/1.0":
            # Nothing but a reset would tell this client that the body is not complete.
            linger = struct.pack("ii", 1, 0)
            self.connection.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.gone = True
        self.connection.close()

    @property
    def connection(self) -> HTTP1Connection:
        return cast(HTTP1Connection, self.request.connection)

    def compute_etag(self) -> None:
        """Compute none: validators are the service's business."""

    def check_etag_header(self) -> bool:
        return False

    def _be_ready(self) -> None:
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)

    def _has_body(self) -> bool:
        length = self.request.headers.get("Content-Length")
        coding = self.request.headers.get("Transfer-Encoding")
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise web.HTTPError(400, "The request's body has no usable length.")
        return coding is not None or length not in (None, "0")
