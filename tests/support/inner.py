"""Services for the proxy to reach: a real application on a unix socket, and raw servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web

ENDPOINT = re.compile(r"^\S*/mlenv/envs/[^/?]+/[^/?]+/")
"""The base of another endpoint than that of `Inner`, which is behind several."""

ARGUMENT = web.RequestKey("argument", str)

PIECE = bytes(range(256)) * 1024
"""256 KiB of body; downloads repeat it."""


class Inner:
    """What the application has seen, and the events by which a test steers it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.requests: list[str] = []
        self.next_event = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{rest:.*}", self.dispatch)
        return app

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        """By the raw target, since aiohttp's routes compare decoded paths."""
        path = ENDPOINT.sub("", request.raw_path.removeprefix(self.base)).partition("?")[0]
        name, _, argument = path.lstrip("/").partition("/")
        names = ("up", "down", "sse", "file", "ws", "forbidden", "cookies", "status")
        handler = getattr(self, name) if name in names else self.echo
        request[ARGUMENT] = argument
        answer: web.StreamResponse = await handler(request)
        return answer

    async def echo(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.raw_path}")
        body = await request.text()
        return web.json_response(
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": list(request.headers.items()),
                "body": body,
            }
        )

    async def up(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def down(self, request: web.Request) -> web.StreamResponse:
        pieces = int(request[ARGUMENT])
        answer = web.StreamResponse()
        if "sized" in request.query:
            answer.content_length = pieces * len(PIECE)
        await answer.prepare(request)
        try:
            for _ in range(pieces):
                await answer.write(PIECE)
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled.set()
            raise
        return answer

    async def sse(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(3):
            await self.next_event.wait()
            self.next_event.clear()
            await answer.write(b"data: %d\n\n" % number)
        return answer

    async def file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(Path(__file__))

    async def forbidden(self, request: web.Request) -> web.Response:
        return web.Response(status=403, text="the inner server says no")

    async def cookies(self, request: web.Request) -> web.Response:
        answer = web.Response(text=request.headers.get("Cookie", ""))
        for value in request.query.getall("set", []):
            answer.headers.add("Set-Cookie", value)
        answer.headers["Service-Worker-Allowed"] = request.query.get("worker", "/")
        answer.headers["Clear-Site-Data"] = '"cookies"'
        return answer

    async def status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request[ARGUMENT]), headers={"ETag": '"1"', "Location": "/elsewhere"})

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, protocols=["chat"])
        self.requests.append(" ".join(request.headers.keys()).lower())
        socket.headers["Set-Cookie"] = "username-outer=gone"
        await socket.prepare(request)
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data == "close":
                await socket.close(code=4001, message=b"enough")
            else:
                await socket.send_str(message.data)
        self.closed.set()
        return socket


@asynccontextmanager
async def serve(path: Path, base: str) -> AsyncIterator[Inner]:
    """The application on a unix socket."""
    inner = Inner(base)
    runner = web.AppRunner(inner.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield inner
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)  # noqa: ASYNC240


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve_raw(path: Path, talk: Talk) -> AsyncIterator[None]:
    """`talk` per connection on a unix socket; the connection is closed after it."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_unix_server(handle, str(path))
    try:
        yield
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        path.unlink(missing_ok=True)  # noqa: ASYNC240


async def read_head(reader: asyncio.StreamReader) -> str:
    """A message's head, as text."""
    return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
