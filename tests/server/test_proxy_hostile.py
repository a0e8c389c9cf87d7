"""Services that try to reach past the proxy: into the client's connection, the browser's origin, the server's loop."""

from __future__ import annotations

import asyncio
import socket

import pytest
from yarl import URL

from jupyter_mlenv.agent_client.routes import UnixRoute
from jupyter_mlenv.proxy import connection as upstream
from jupyter_mlenv.proxy.http1 import ProtocolError
from tests.support.hostileservice import OK, SWITCHED, answer, hostile
from tests.support.inner import read_head
from tests.support.outer import OuterServer
from tests.support.proxied import Browser, browser, outer
from tests.support.waiting import eventually

__all__ = ["browser", "outer"]

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ==",
}
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: username-x=evil; Path=/\r\n\r\nstolen"


@pytest.mark.parametrize(
    "said",
    [
        SWITCHED + STOLEN,
        b"HTTP/1.1 100 Continue\r\n\r\n" + SWITCHED + STOLEN,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + STOLEN,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + STOLEN,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_switch_of_protocols_that_nobody_asked_for_is_refused(
    browser: Browser, outer: OuterServer, method: str, said: bytes
) -> None:
    """The next request on the client's connection goes to the outer server, and to nobody else."""
    async with hostile(outer.sockets / "switch.app.sock", said) as seen:
        length = "\r\nContent-Length: 0" if method == "POST" else ""
        reader, writer = await browser.raw(f"{method} {outer.path('switch', 'app')} HTTP/1.1{length}")
        head = await read_head(reader)
        assert head.startswith("HTTP/1.1 502")
        assert "evil" not in head
        secret = [f"GET {outer.base_url}api/status HTTP/1.1", f"Host: {outer.host}", "Connection: close"]
        writer.write("\r\n".join([*secret, f"Authorization: token {outer.token}", "", ""]).encode())
        rest = await asyncio.wait_for(reader.read(), 30)
        assert b"stolen" not in rest
        assert b'"started"' in rest
        writer.close()
        assert outer.token.encode() not in seen.received


async def test_not_even_on_a_connection_that_was_used_before(browser: Browser, outer: OuterServer) -> None:
    async with hostile(outer.sockets / "later.app.sock", OK, SWITCHED + STOLEN) as seen:
        url = browser.url(id="later")
        async with browser.request("GET", url) as first:
            assert await first.read() == b"ok"
        async with browser.request("GET", url) as second:
            assert second.status == 502
            assert b"stolen" not in await second.read()
        assert seen.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 x\nSet-Cookie: username-x=evil; Path=/\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\rSet-Cookie: username-x=evil\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: a\nSet-Cookie: username-x=evil\r\n\r\n",
        b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_a_websocket_is_opened_by_a_sound_answer_only(browser: Browser, outer: OuterServer, said: bytes) -> None:
    service = hostile(outer.sockets / "ws.app.sock", said)
    async with service, browser.request("GET", browser.url(id="ws"), UPGRADE) as refused:
        assert refused.status == 502
        assert "Set-Cookie" not in refused.headers


@pytest.mark.parametrize(
    "said",
    [
        answer(status="200 OK\nSet-Cookie: username-x=evil"),
        answer(status="200 OK\x00"),
        answer(status="200 " + "x" * 300),
        answer(status="600 Odd"),
        answer(status="999 Odd"),
        answer(status="000 Odd"),
        answer("X: a\x0bb"),
        answer("X: a\nSet-Cookie: username-x=evil"),
        answer(*(f"X-{number}: 1" for number in range(2000))),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200 + OK,
    ],
)
async def test_an_answer_that_could_be_read_in_two_ways_is_none(
    browser: Browser, outer: OuterServer, said: bytes
) -> None:
    service = hostile(outer.sockets / "odd.app.sock", said)
    async with service, browser.request("GET", browser.url(id="odd")) as refused:
        assert refused.status == 502
        assert "Set-Cookie" not in refused.headers
        assert (await refused.json())["code"] == "environment_failed"


async def test_nothing_that_belongs_to_the_origin_arrives(browser: Browser, outer: OuterServer) -> None:
    said = answer(
        "Service-Worker-Allowed: /user/alice%40b/mlenv/envs/site/app/../../../../",
        "Clear-Site-Data: *",
        "X-Accel-Redirect: /internal",
        "X-Sendfile: /etc/passwd",
        "Accept-CH: Sec-CH-UA",
        "WWW-Authenticate: Basic",
        "Access-Control-Allow-Origin: *",
        "Set-Cookie: =username-x=evil",
        "Content-Security-Policy: frame-ancestors *",
        "X-Kept: yes",
    )
    service = hostile(outer.sockets / "site.app.sock", said)
    async with service, browser.request("GET", browser.url(id="site")) as got:
        policies = got.headers.getall("Content-Security-Policy")
        assert policies == ["frame-ancestors *", "frame-ancestors 'self'"]
        left = {name.lower() for name in got.headers}
    assert left <= {"content-security-policy", "x-kept", "content-length", "date", "server"}
    assert "x-kept" in left


async def test_files_of_a_project_are_shown_in_a_sandbox(browser: Browser, outer: OuterServer) -> None:
    """Also where the Jupyter server inside is too old to do so itself."""
    async with hostile(outer.sockets / "env.notebook.sock", answer("Content-Type: text/html")) as seen:
        for rest, sandboxed in (
            ("files/a.html", True),
            ("nbconvert/html/a.ipynb?download=false", True),
            ("%66iles/a.html", True),
            ("//files/a.html", True),
            ("lab/files/x", False),
            ("filesystem", False),
        ):
            async with browser.request("GET", browser.url(rest, endpoint="notebook")) as got:
                said = got.headers.getall("Content-Security-Policy")
                assert ("sandbox allow-scripts" in said) is sandboxed, rest
        seen.received.clear()
        worker = {"Service-Worker": "script"}
        async with browser.request("GET", browser.url("files/sw.js", endpoint="notebook"), worker) as refused:
            assert refused.status == 403
        assert not seen.received


@pytest.mark.parametrize(
    ("id", "endpoint", "code"),
    [
        ("x%2F..%2Fenv", "8501", "environment_not_found"),
        ("env%2e", "8501", "environment_not_found"),
        (".env", "8501", "environment_not_found"),
        ("e" * 200, "8501", "environment_not_found"),
        ("env%0a", "8501", "environment_not_found"),
        ("env", "08501", "endpoint_not_found"),
        ("env", "%D9%A8%D9%A5%D9%A0%D9%A1", "endpoint_not_found"),
        ("env", "8%3501", "endpoint_not_found"),
        ("env", "0", "endpoint_not_found"),
        ("env", "65536", "endpoint_not_found"),
        ("env", "999999999999", "endpoint_not_found"),
        ("env", "App", "endpoint_not_found"),
        ("env", "app%2F..%2F8501", "endpoint_not_found"),
        ("env", "app%20", "endpoint_not_found"),
    ],
)
async def test_an_address_has_one_way_to_be_written(
    browser: Browser, outer: OuterServer, id: str, endpoint: str, code: str
) -> None:
    before = outer.starts()
    for method, headers in (("GET", {}), ("POST", {}), ("GET", UPGRADE)):
        url = URL(outer.url(id, endpoint), encoded=True)
        async with browser.request(method, url, headers) as refused:
            assert refused.status == 404
            assert (await refused.json())["code"] == code
    assert outer.starts() == before


async def test_a_body_of_very_many_pieces_arrives_whole(browser: Browser, outer: OuterServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"1\r\n%d\r\n" % (number % 10) for number in range(100_000)) + b"0\r\n\r\n"
    async with hostile(outer.sockets / "bits.app.sock", head + body):
        for _ in range(2):
            async with browser.request("GET", browser.url(id="bits")) as got:
                assert await got.read() == b"0123456789" * 10_000


async def pair(said: bytes) -> tuple[upstream.Connection, socket.socket]:
    """A connection on which a request was sent, to a service that has said this and may go on."""
    ours, theirs = socket.socketpair()
    connection = upstream.Connection(UnixRoute(""), ours, memoryview(bytearray(upstream.READ_BYTES)))
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    connection.begin(b"GET / HTTP/1.1\r\n\r\n", "GET", chunked=False, has_body=False)
    theirs.sendall(said)
    return connection, theirs


async def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts from its first byte: a service may think as long as it likes."""
    monkeypatch.setattr(upstream, "HEAD_TIMEOUT_SECONDS", 0.05)
    connection, theirs = await pair(b"HTTP/1.1 200 OK\r\nX: 1")
    with theirs, pytest.raises(ProtocolError, match="not complete after"):
        await connection.head()
    connection, theirs = await pair(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    with theirs:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.head(), 0.3)
        theirs.sendall(OK)
        assert (await connection.head()).status == 200
        await eventually(lambda: connection.done, "the answer is complete")
    connection.abort()


async def test_a_body_of_tiny_pieces_leaves_the_loop_to_others() -> None:
    """One read of 256 KiB holds 43,000 pieces of one byte; others get their turn in between."""
    turns = 0
    pieces = b"1\r\nx\r\n" * 20_000

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    connection, theirs = await pair(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await connection.head()
    with theirs:
        others = asyncio.create_task(count())
        sending = asyncio.create_task(asyncio.to_thread(theirs.sendall, pieces + b"0\r\n\r\n"))
        size = 0
        while piece := await connection.read():
            size += len(piece)
        await sending
        others.cancel()
    connection.abort()
    assert size == 20_000
    assert turns > 100
