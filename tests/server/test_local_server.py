"""What `open` serves without a Jupyter server: only who knows the address gets in, and no credential passes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from jupyter_mlenv.agent_client.routes import TcpRoute, UnixRoute
from jupyter_mlenv.agent_client.routes import connect as connect_route
from jupyter_mlenv.errors import EnvironmentNotRunning
from jupyter_mlenv.proxy.headers import CookieRule
from jupyter_mlenv.proxy.local_server import LocalServer
from jupyter_mlenv.urls import app_url
from tests.support.hostileservice import OK, SWITCHED, Hostile, answer, hostile
from tests.support.inner import read_head, serve_raw

SECRET = "/of-43-characters-as-all-of-them-are-0123456/"
"""In the form of `new_secret`, and the same in each process that collects these tests."""
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
    """The address of a local server in front of a real service."""
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

    server = LocalServer(SECRET, CookieRule("", BASE, allowed=False), connect)
    try:
        yield f"http://127.0.0.1:{await server.start()}"
    finally:
        await server.close()
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
            assert await ws.receive_bytes(timeout=120) == b"w" * size


async def test_a_stopped_environment_is_told_to_the_browser() -> None:
    async def connect() -> socket.socket:
        raise EnvironmentNotRunning("The environment e-1 is stopped.")

    server = LocalServer(SECRET, CookieRule("", BASE), connect)
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{BASE}") as answer:
            assert answer.status == 502
            assert "e-1 is stopped" in await answer.text()
    finally:
        await server.close()


@asynccontextmanager
async def raw(folder: Path, *answers: bytes) -> AsyncIterator[tuple[int, Hostile]]:
    """The port of a local server in front of a service that says these bytes."""
    path = folder / "s"
    server = LocalServer(SECRET, CookieRule("", BASE), lambda: connect_route(UnixRoute(str(path))))
    async with hostile(path, *answers) as seen:
        try:
            yield await server.start(), seen
        finally:
            await server.close()


async def said_to(port: int, request: str, host: str = "") -> bytes:
    """All that comes back for these bytes, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("HOST", host or f"127.0.0.1:{port}").encode("latin-1"))
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


GET = f"GET {BASE} HTTP/1.1\r\nHost: HOST\r\n"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: username-x=evil; Path=/\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        SWITCHED + STOLEN,
        b"HTTP/1.1 200 x\nSet-Cookie: username-x=evil\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 x\nSet-Cookie: username-x=evil\r\n\r\n" + OK,
        b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + OK,
    ],
)
async def test_a_service_cannot_answer_past_the_rules(tmp_path: Path, said: bytes) -> None:
    async with raw(tmp_path, said) as (port, _):
        got = await said_to(port, f"{GET}\r\n")
        assert got.startswith(b"HTTP/1.1 502")
        assert b"\nSet-Cookie" not in got


async def test_an_answer_cannot_act_on_other_programs_of_this_machine(tmp_path: Path) -> None:
    fields = ("Set-Cookie: a=1; Domain =x; Path=/", "Set-Cookie: =username-x=1", "Clear-Site-Data: *", "X-Mine: 1")
    async with raw(tmp_path, answer(*fields, "Content-Security-Policy: frame-ancestors *")) as (port, _):
        got = (await said_to(port, f"{GET}\r\n")).decode()
        assert got.count("Set-Cookie") == 1
        assert f"Set-Cookie: a=1; Path={BASE}\r\n" in got
        assert "Content-Security-Policy: frame-ancestors 'self'\r\n" in got
        assert "X-Mine: 1" in got
        assert "Clear-Site-Data" not in got


async def test_one_request_passes_and_nothing_behind_it(tmp_path: Path) -> None:
    """A second one would arrive with its cookies."""
    second = f"GET {BASE}second HTTP/1.1\r\nHost: HOST\r\nCookie: username-x=outer\r\n\r\n"
    async with raw(tmp_path, OK) as (port, seen):
        got = await said_to(port, f"{GET}\r\n{second}")
        assert (got[:15], got.count(b"HTTP/1.1")) == (b"HTTP/1.1 200 OK", 1)
        got = await said_to(port, f"POST {BASE} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\nx{second}")
        assert got.count(b"HTTP/1.1") == 1
        assert b"second" not in seen.received
        assert b"outer" not in seen.received


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Host: second\r\n",
        "X: a\r\n folded\r\n",
        "X: a\nY: b\r\n",
        "X : a\r\n",
    ],
)
async def test_a_request_that_could_be_read_in_two_ways_is_none(tmp_path: Path, lines: str) -> None:
    async with raw(tmp_path, OK) as (port, seen):
        got = await said_to(port, f"POST {BASE} HTTP/1.1\r\nHost: HOST\r\n{lines}\r\n0\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400")
        assert not seen.received


@pytest.mark.parametrize(
    ("lines", "host", "status"),
    [
        ("", "evil.example:PORT", 403),
        ("", "127.0.0.1.evil.example", 403),
        ("", "localhost:PORT", 200),
        ("", "127.0.0.1:1", 200),
        ("Origin: http://evil.example\r\n", "", 403),
        ("Origin: null\r\n", "", 403),
        ("Origin: http://127.0.0.1:1\r\n", "", 403),
        ("Origin: http://HOST\r\n", "", 200),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", "", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n", "", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n", "", 200),
    ],
)
async def test_other_sites_are_refused_even_if_they_know_the_address(
    tmp_path: Path, lines: str, host: str, status: int
) -> None:
    """By a name of their own that points here, too."""
    async with raw(tmp_path, OK) as (port, seen):
        got = await said_to(port, f"{GET}{lines}\r\n", host.replace("PORT", str(port)))
        assert got.startswith(b"HTTP/1.1 %d" % status)
        assert bool(seen.received) is (status == 200)


async def test_only_the_endpoint_is_served(tmp_path: Path) -> None:
    async with raw(tmp_path, OK) as (port, seen):
        got = await said_to(port, f"GET {SECRET}mlenv/envs/e-1/8000/ HTTP/1.1\r\nHost: HOST\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 404")
        assert not seen.received


async def test_a_browser_that_leaves_lets_go_of_the_service(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert await reader.read() == b""
        gone.set()

    path = tmp_path / "s"
    server = LocalServer(SECRET, CookieRule("", BASE), lambda: connect_route(UnixRoute(str(path))))
    async with serve_raw(path, events):
        try:
            port = await server.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{GET}\r\n".replace("HOST", f"localhost:{port}").encode())
            await asyncio.wait_for(reader.readuntil(b"data: 1"), 30)
            writer.close()
            await asyncio.wait_for(gone.wait(), 30)
        finally:
            await server.close()


async def test_an_app_that_knows_of_no_prefix_sees_its_own_paths() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0]
        head = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(line)
        writer.write(head + line)
        writer.close()

    base = app_url(SECRET, "e-1", "8000")
    service = await asyncio.start_server(talk, "127.0.0.1", 0)
    address = service.sockets[0].getsockname()[:2]
    server = LocalServer(SECRET, CookieRule("", base), lambda: connect_route(TcpRoute(*address)), at_root=True)
    try:
        url = f"http://127.0.0.1:{await server.start()}"
        async with aiohttp.ClientSession() as client, client.get(f"{url}{base}a?b=1", allow_redirects=False) as answer:
            assert await answer.text() == "GET /a?b=1 HTTP/1.1"
            assert answer.headers["Location"] == f"{base}next"
    finally:
        await server.close()
        service.close()
