"""What `open` serves without a Jupyter server: only who knows the address gets in, and no credential passes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from jupyter_mlenv.cli.relay import Relay, new_secret
from jupyter_mlenv.errors import EnvironmentNotRunning
from jupyter_mlenv.server.scrub import CookieRule

SECRET = new_secret()
BASE = f"{SECRET}mlenv/envs/e-1/notebook/"


async def echo(request: web.Request) -> web.StreamResponse:
    """Headers and body as the service saw them; tries to set a cookie on the browser."""
    body = await request.read()
    answer = {"headers": {k.lower(): v for k, v in request.headers.items()}, "length": len(body), "path": request.path}
    response = web.json_response(answer)
    response.set_cookie("username-127-0-0-1-8888", "evil", path="/")
    return response


async def socket_echo(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_bytes(message.data)
    return ws


async def big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b"x" * 100_000)
    return response


@asynccontextmanager
async def relayed() -> AsyncIterator[str]:
    """The address of a relay in front of a real service."""
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", BASE, echo)
    app.router.add_get(f"{BASE}ws", socket_echo)
    app.router.add_get(f"{BASE}big", big)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    inner: int = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def connect() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", inner))
        sock.setblocking(False)
        return sock

    relay = Relay(SECRET, CookieRule("", BASE, allowed=False), connect)
    try:
        yield f"http://127.0.0.1:{await relay.start()}"
    finally:
        await relay.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    "path", ["/", "/mlenv/envs/e-1/notebook/", SECRET[:-2], "/" + SECRET, "/x" + BASE, "*", "http://127.0.0.1/"]
)
async def test_who_does_not_know_the_address_gets_nothing(path: str) -> None:
    async with relayed() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        # A second request on the same connection must not get through either.
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\nGET {BASE} HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request.encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 404")
        assert SECRET.encode() not in answer
        assert answer.count(b"HTTP/1.1") == 1


async def test_no_credential_reaches_the_container_and_none_comes_back() -> None:
    async with relayed() as url, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        headers = {
            "Cookie": "username-127-0-0-1-8888=outer; _xsrf=abc; mine=1",
            "Authorization": "token outer",
            "X-XSRFToken": "abc",
            "Accept": "text/x-kept",
        }
        async with client.get(url + BASE, headers=headers) as answer:
            seen = (await answer.json())["headers"]
            assert "Set-Cookie" not in answer.headers
            assert answer.headers["Connection"] == "close"
        assert not {"cookie", "authorization", "x-xsrftoken"} & seen.keys()
        assert seen["accept"] == "text/x-kept"
        assert seen["host"] == url.removeprefix("http://")


async def test_bodies_pass_both_ways_whatever_their_framing() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"y" * 100_000

    async with relayed() as url, aiohttp.ClientSession() as client:
        async with client.post(url + BASE, data=b"z" * 3_000_000) as answer:
            assert (await answer.json())["length"] == 3_000_000
        async with client.post(url + BASE, data=chunks()) as answer:
            assert (await answer.json())["length"] == 5_000_000
        async with client.get(url + BASE + "big") as answer:
            assert await answer.read() == b"x" * 6_400_000


async def test_web_sockets_pass() -> None:
    async with relayed() as url, aiohttp.ClientSession() as client, client.ws_connect(url + BASE + "ws") as ws:
        for size in (1, 70_000, 1_000_000):
            await ws.send_bytes(b"w" * size)
            assert await ws.receive_bytes(timeout=10) == b"w" * size


async def test_a_stopped_environment_is_told_to_the_browser() -> None:
    async def connect() -> socket.socket:
        raise EnvironmentNotRunning("The environment e-1 is stopped.")

    relay = Relay(SECRET, CookieRule("", BASE), connect)
    port = await relay.start()
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{BASE}") as answer:
            assert answer.status == 502
            assert "e-1 is stopped" in await answer.text()
    finally:
        await relay.close()
