"""WebSockets through the proxy of a real Jupyter server."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.support.inner import Inner, read_head, serve, serve_raw
from tests.support.outer import OuterServer
from tests.support.proxied import BASE_URL, Browser, browser, inner, outer

__all__ = ["browser", "inner", "outer"]

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ=="
)


async def test_messages_pass_both_ways_in_order(browser: Browser, inner: Inner) -> None:
    async with browser.ws(protocols=["chat"]) as socket:
        assert socket.protocol == "chat"
        for number in range(2000):
            await socket.send_str(f"message {number}")
        for number in range(2000):
            assert (await socket.receive()).data == f"message {number}"


async def test_compression_is_between_the_ends(browser: Browser, inner: Inner) -> None:
    async with browser.ws(compress=15) as socket:
        assert socket.compress
        await socket.send_str("a" * 100_000)
        assert (await socket.receive()).data == "a" * 100_000


async def test_a_message_of_64_megabytes_passes_without_memory(
    browser: Browser, inner: Inner, outer: OuterServer
) -> None:
    message = os.urandom(64 * 1024 * 1024)
    before = outer.memory()
    async with browser.ws() as socket:
        await socket.send_bytes(message)
        assert (await socket.receive()).data == message
    assert outer.memory() - before < 30 * 1024 * 1024


async def test_nothing_of_the_outer_server_arrives(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    headers = {
        "Authorization": f"token {outer.token}",
        "X-XSRFToken": "s",
        "Cookie": browser.headers(_xsrf="s")["Cookie"],
    }
    async with browser.ws(f"ws?token={outer.token}", headers) as socket:
        assert "Set-Cookie" not in socket._response.headers
    names = inner.requests[-1].split()
    assert not {"cookie", "authorization", "x-xsrftoken"} & set(names)
    assert "sec-websocket-key" in names


async def test_a_close_passes_both_ways(browser: Browser, inner: Inner) -> None:
    async with browser.ws() as socket:
        await socket.send_str("close")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "enough")
    await asyncio.wait_for(inner.closed.wait(), 30)
    inner.closed.clear()
    async with browser.ws() as socket:
        await socket.close()
    await asyncio.wait_for(inner.closed.wait(), 30)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
async def test_other_sites_cannot_connect(browser: Browser, inner: Inner, outer: OuterServer, origin: str) -> None:
    headers = {"Origin": origin} if origin else {}
    jar = {"Cookie": browser.headers()["Cookie"]}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.session.ws_connect(browser.url("ws"), headers=jar | headers)
    assert refused.value.status == 403
    assert inner.requests == []


async def test_without_a_login_nobody_connects(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.session.ws_connect(browser.url("ws"), headers={"Origin": outer.origin})
    assert refused.value.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.session.ws_connect(browser.url("ws"), headers={"Authorization": "token wrong"})
    assert refused.value.status == 403
    async with browser.session.ws_connect(
        browser.url("ws"), headers={"Authorization": f"token {outer.token}"}
    ) as socket:
        await socket.send_str("a program with the token")
        assert (await socket.receive()).data == "a program with the token"


async def test_a_refusal_of_the_service_is_its_own(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    reader, writer = await browser.raw(f"GET {outer.path('env', 'app', '/forbidden')} HTTP/1.1\r\n{UPGRADE}")
    head = await read_head(reader)
    assert head.startswith("HTTP/1.1 403")
    assert await reader.readexactly(24) == b"the inner server says no"
    # The connection is still an ordinary one.
    lines = [f"GET {outer.path('env', 'app', '/echo')} HTTP/1.1", f"Host: {outer.host}", "Connection: close"]
    writer.write("\r\n".join([*lines, f"Cookie: {browser.headers()['Cookie']}", "", ""]).encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("id", "status"), [("nope", 404), ("stopped", 409), ("broken", 502)])
async def test_without_a_service_the_handshake_fails(browser: Browser, inner: Inner, id: str, status: int) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.session.ws_connect(browser.url("ws", id), headers=browser.headers())
    assert refused.value.status == status


async def test_bytes_around_the_handshake_are_not_lost(browser: Browser, outer: OuterServer) -> None:
    """The client does not wait for the 101, and the service sends its first bytes together with it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert "\r\nUpgrade: websocket\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
        writer.write((await reader.readexactly(5)).upper())

    async with serve_raw(outer.sockets / "early.app.sock", talk):
        path = outer.path("early", "app", "/x")
        reader, writer = await asyncio.open_connection("127.0.0.1", outer.port)
        lines = [f"GET {path} HTTP/1.1", f"Host: {outer.host}", *(f"{n}: {v}" for n, v in browser.headers().items())]
        writer.write("\r\n".join([*lines, UPGRADE, "", ""]).encode() + b"early")
        assert (await read_head(reader)).startswith("HTTP/1.1 101 Switching")
        assert await reader.read() == b"firstEARLY"


async def test_each_side_can_stop_sending_first(browser: Browser, outer: OuterServer) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        received = await reader.read()  # Ends only when the client has stopped sending.
        writer.write(b"you sent %d bytes" % len(received))

    async with serve_raw(outer.sockets / "half.app.sock", talk):
        reader, writer = await browser.raw(f"GET {outer.path('half', 'app', '/x')} HTTP/1.1\r\n{UPGRADE}")
        await read_head(reader)
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 30) == b"you sent 3000000 bytes"


async def test_the_end_of_the_service_is_the_end_of_the_connection(browser: Browser, outer: OuterServer) -> None:
    go = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await go.wait()
        writer.transport.abort()

    async with serve_raw(outer.sockets / "end.app.sock", talk):
        reader, _ = await browser.raw(f"GET {outer.path('end', 'app', '/x')} HTTP/1.1\r\n{UPGRADE}")
        await read_head(reader)
        go.set()
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_a_slow_reader_holds_the_service_back(browser: Browser, outer: OuterServer) -> None:
    held = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        for _ in range(200):
            writer.write(b"x" * 1_000_000)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except asyncio.TimeoutError:
                held.set()
                await writer.drain()

    before = outer.memory()
    async with serve_raw(outer.sockets / "slow.app.sock", talk):
        reader, _ = await browser.raw(f"GET {outer.path('slow', 'app', '/x')} HTTP/1.1\r\n{UPGRADE}")
        await read_head(reader)
        await asyncio.wait_for(held.wait(), 30)
        assert outer.memory() - before < 30 * 1024 * 1024
        size = 0
        while size < 200_000_000:
            size += len(await reader.read(1 << 20))
        assert await reader.read() == b""


async def test_an_outer_server_with_tls(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mlenv-proxy-", dir="/tmp") as folder:
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN=localhost"
        )
        subprocess.run(command.split(), check=True, capture_output=True)  # noqa: ASYNC221
        options = [f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={key}"]
        server = OuterServer(Path(folder), BASE_URL, options, scheme="https")
        server.start()
        try:
            context = ssl.create_default_context(cafile=str(certificate))
            context.check_hostname = False
            connector = aiohttp.TCPConnector(ssl=context)
            async with (
                serve(server.sockets / "env.app.sock", server.path("env", "app")) as inner,
                aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            ):
                browser = Browser(session, server, {})
                token = {"Authorization": f"token {server.token}"}
                async with browser.get("echo", token) as answer:
                    assert ["X-Forwarded-Proto", "https"] in (await answer.json())["headers"]
                async with browser.ws(headers=token) as socket:
                    for size in (5, 3_000_000):
                        await socket.send_bytes(b"x" * size)
                        assert (await socket.receive()).data == b"x" * size
                await asyncio.wait_for(inner.closed.wait(), 30)
        finally:
            server.stop()
