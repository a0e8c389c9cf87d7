"""HTTP through the proxy of a real Jupyter server, to real services on unix sockets and TCP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from yarl import URL

from tests.support import inner as inner_module
from tests.support.inner import PIECE, Inner, read_head, serve_raw
from tests.support.outer import OuterServer
from tests.support.proxied import Browser, browser, inner, outer

__all__ = ["browser", "inner", "outer"]

MEGABYTE = 1024 * 1024
FILE = Path(inner_module.__file__).read_bytes()


async def test_the_target_arrives_untouched(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    rest = "a%2Fb/%e9/../x;y=1?q=%20+%2B&r=a/b?c&empty"
    async with browser.get(rest) as answer:
        seen = await answer.json()
    assert seen["target"] == outer.path("env", "app", f"/{rest}")


async def test_nothing_of_the_outer_server_arrives(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    secret = "5ecret"
    jar = [f"{name}={value}" for name, value in browser.cookies.items()]
    jar += [f"_xsrf={secret}", f"jupyterhub-session-id={secret}", f"username-other-80={secret}", "session=inner"]
    headers = {
        "Cookie": "; ".join(jar),
        "Authorization": f"token {outer.token}",
        "X-XSRFToken": secret,
        "X-Forwarded-For": secret,
        "Forwarded": f"for={secret}",
        "Referer": f"{outer.origin}/lab?token={outer.token}",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": secret,
        "X-Kept": "yes",
    }
    async with browser.request("POST", browser.url(f"echo?token={outer.token}&_xsrf={secret}&x=1"), headers) as answer:
        text = await answer.text()
    login = next(iter(browser.cookies.values()))
    for leak in (secret, outer.token, login):
        assert leak not in text
    seen = {name.lower(): value for name, value in json.loads(text)["headers"]}
    assert seen["cookie"] == "session=inner"
    assert seen["x-kept"] == "yes"
    assert seen["host"] == outer.host
    assert seen["x-forwarded-host"] == outer.host
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert not {"authorization", "x-xsrftoken", "forwarded", "x-hop"} & set(seen)


async def test_an_applications_own_login_arrives(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    """By a bearer token or an invitation, beside the login of the outer server, of which nothing does."""
    own = {"Authorization": "Bearer app-jwt", "X-CSRFToken": "masked", "Cookie": browser.headers()["Cookie"]}
    async with browser.request("GET", browser.url("echo?token=invite-1&x=1"), own) as answer:
        seen = await answer.json()
    assert seen["target"] == outer.path("env", "app", "/echo?token=invite-1&x=1")
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert (headers["authorization"], headers["x-csrftoken"]) == ("Bearer app-jwt", "masked")
    for theirs in (f"Bearer {outer.token}", f"token {outer.token}", "Basic YW5uOnB3"):
        url = browser.url(f"echo?token={outer.token}&token=invite-1")
        async with browser.request("GET", url, own | {"Authorization": theirs}) as answer:
            seen = await answer.json()
        assert seen["target"] == outer.path("env", "app", "/echo?token=invite-1")
        assert "authorization" not in {name.lower() for name, _ in seen["headers"]}
    async with browser.session.get(browser.url("echo?token=invite-1"), headers={"Authorization": "Bearer a"}) as answer:
        assert answer.status == 403, "nothing of an application's logs in at the outer server"


async def test_the_notebook_gets_no_cookie_at_all(browser: Browser, inner: Inner) -> None:
    url = browser.url("echo", endpoint="notebook")
    async with browser.request("GET", url, {"Cookie": browser.headers()["Cookie"] + "; session=1"}) as answer:
        assert "cookie" not in [name.lower() for name, _ in (await answer.json())["headers"]]


async def test_cookies_of_the_application_are_confined(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    login = next(iter(browser.cookies))
    query = f"set=s=1;Path=/;Domain=x.org&set={login}=gone;Path=/&set=_xsrf=gone&worker=/"
    async with browser.get(f"cookies?{query}") as answer:
        assert answer.headers.getall("Set-Cookie") == [f"s=1; Path={outer.path('env', 'app')}"]
        assert "Service-Worker-Allowed" not in answer.headers
        assert "Clear-Site-Data" not in answer.headers


async def test_every_verb_passes(browser: Browser, inner: Inner) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        body = b"body" if method in ("POST", "PUT", "PATCH") else None
        async with browser.request(method, browser.url("echo"), data=body) as answer:
            seen = await answer.json()
        assert seen["method"] == method
        assert seen["body"] == ("body" if body else "")
    async with browser.request("HEAD", browser.url("file")) as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(FILE)
        assert await answer.read() == b""


async def test_an_app_that_knows_of_no_prefix(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    """At an address of its own kind it sees the paths that it has itself, and what it sends back fits there."""
    base = f"{outer.base_url}mlenv/apps/env/8501/"

    def app(rest: str) -> URL:
        return URL(f"{outer.origin}{base}{rest}", encoded=True)

    async with browser.get_at("mlenv/apps/env/8501/a%2Fb//c?x=%20/1") as answer:
        seen = await answer.json()
    assert seen["target"] == "/a%2Fb//c?x=%20/1"
    assert ["X-Forwarded-Prefix", base.rstrip("/")] in seen["headers"]
    async with browser.get_at("mlenv/apps/env/8501/") as answer:
        assert (await answer.json())["target"] == "/"
    async with browser.get_at("mlenv/apps/env/8501?a") as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "./8501/?a")
    async with browser.get_at("mlenv/apps/env/8501/status/302") as answer:
        assert answer.headers["Location"] == f"{base}elsewhere"
    async with browser.get_at("mlenv/apps/env/8501/cookies?set=s=1;Path=/") as answer:
        assert answer.headers.getall("Set-Cookie") == [f"s=1; Path={base}"]
    # The same admission as at the other kind of address.
    async with browser.session.get(app("")) as answer:
        assert answer.status == 403
    foreign = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
    async with browser.request("POST", app(""), foreign) as answer:
        assert answer.status == 403
    headers = browser.headers()
    async with browser.session.ws_connect(app("ws"), headers=headers, protocols=["chat"]) as socket:
        await socket.send_str("hi")
        assert (await socket.receive()).data == "hi"


@pytest.mark.parametrize(("endpoint", "counts"), [("app", True), ("8501", True), ("tensorboard", False)])
async def test_what_asks_by_itself_keeps_no_server_alive(
    browser: Browser, inner: Inner, outer: OuterServer, endpoint: str, counts: bool
) -> None:
    """A page that was left open polls for ever."""

    async def last() -> str:
        async with browser.get_at("api/status") as answer:
            return str((await answer.json())["last_activity"])

    before = await last()
    async with browser.request("GET", browser.url("echo", endpoint=endpoint)) as answer:
        assert answer.status == 200
    after = await last()
    assert (after != before) is counts
    async with browser.session.ws_connect(browser.url("ws", endpoint=endpoint), headers=browser.headers()) as socket:
        await socket.send_str("hi")
        assert (await socket.receive()).data == "hi"
    assert (await last() != after) is counts


async def test_below_apps_are_ports_only(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    async with browser.get_at("mlenv/apps/env/app/") as answer:
        error = await answer.json()
    assert (answer.status, error["code"]) == (404, "endpoint_not_found")
    assert "mlenv/envs/env/app/" in error["hint"]


@pytest.mark.parametrize("status", [204, 304, 302, 404, 500, 599])
async def test_every_status_passes(browser: Browser, inner: Inner, outer: OuterServer, status: int) -> None:
    async with browser.get(f"status/{status}") as answer:
        assert answer.status == status
        assert answer.headers["Location"] == outer.path("env", "app", "/elsewhere"), "not one of the outer server's"
        assert answer.headers["ETag"] == '"1"'


async def test_ranges_pass(browser: Browser, inner: Inner) -> None:
    async with browser.get("file", {"Range": "bytes=10-19"}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 10-19/{len(FILE)}"
        assert await answer.read() == FILE[10:20]
        validator = answer.headers["ETag"]
    async with browser.get("file", {"If-None-Match": validator}) as answer:
        assert answer.status == 304


async def test_headers_and_events_are_not_held_back(browser: Browser, inner: Inner) -> None:
    """Each step happens only after the one before was seen through the proxy, so a buffering proxy would hang."""
    async with browser.get("sse") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        for number in range(3):
            inner.next_event.set()
            assert await answer.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
        assert await answer.read() == b""


@pytest.mark.parametrize("sized", ["", "?sized"])
async def test_a_large_download_needs_no_memory(browser: Browser, inner: Inner, outer: OuterServer, sized: str) -> None:
    pieces, size, digest = 800, 0, hashlib.sha256()
    before = outer.memory()
    async with browser.get(f"down/{pieces}{sized}") as answer:
        assert ("Content-Length" in answer.headers) is bool(sized)
        async for piece in answer.content.iter_any():
            digest.update(piece)
            size += len(piece)
    assert size == pieces * len(PIECE)
    assert digest.hexdigest() == hashlib.sha256(PIECE * pieces).hexdigest()
    assert outer.memory() - before < 30 * MEGABYTE


@pytest.mark.parametrize("sized", [True, False])
async def test_a_large_upload_needs_no_memory(browser: Browser, inner: Inner, outer: OuterServer, sized: bool) -> None:
    pieces = 800

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield PIECE

    before = outer.memory()
    headers = {"Content-Length": str(pieces * len(PIECE))} if sized else {}
    async with browser.post("up", headers, data=body()) as answer:
        seen = await answer.json()
    assert seen == {"size": pieces * len(PIECE), "sha256": hashlib.sha256(PIECE * pieces).hexdigest()}
    assert outer.memory() - before < 30 * MEGABYTE


async def test_a_slow_reader_holds_the_service_back(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    before = outer.memory()
    reader, writer = await browser.raw(f"GET {outer.path('env', 'app', '/down/4000')} HTTP/1.1")
    await read_head(reader)
    await asyncio.sleep(1)
    assert outer.memory() - before < 30 * MEGABYTE
    writer.transport.abort()
    await asyncio.wait_for(inner.cancelled.wait(), 30)


async def test_a_client_that_expects_to_continue_may(browser: Browser, inner: Inner) -> None:
    async with browser.post("up", data=b"x" * MEGABYTE, expect100=True) as answer:
        assert (await answer.json())["size"] == MEGABYTE


async def test_a_client_that_leaves_releases_the_service(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    reader, writer = await browser.raw(f"GET {outer.path('env', 'app', '/sse')} HTTP/1.1")
    await read_head(reader)
    writer.transport.abort()
    for _ in range(3):
        inner.next_event.set()
        await asyncio.sleep(0.05)
    async with browser.get("echo") as answer:
        assert answer.status == 200


async def test_missing_slash_redirects(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    url = URL(outer.url("env", "app", "?a=%2F&b"), encoded=True)
    async with browser.request("GET", url) as answer:
        assert answer.status == 302
        assert answer.headers["Location"] == "./app/?a=%2F&b"
    async with browser.request("POST", url, data=b"x") as answer:
        assert answer.status == 308
    assert urljoin(str(url), "./app/?a=%2F&b") == outer.url("env", "app", "/?a=%2F&b")


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (("nope", "app"), 404, "environment_not_found"),
        (("env", "nope"), 404, "endpoint_not_found"),
        (("env", "..%2Fx"), 404, "endpoint_not_found"),
        (("stopped", "app"), 409, "environment_not_running"),
        (("broken", "app"), 502, "service_exited"),
    ],
)
async def test_errors_are_objects_for_programs_and_pages_for_people(
    browser: Browser, inner: Inner, target: tuple[str, str], status: int, code: str
) -> None:
    url = browser.url("x", *target)
    async with browser.request("GET", url) as answer:
        assert answer.status == status
        error = await answer.json()
    assert error["code"] == code
    assert set(error) == {"code", "message", "hint", "details", "log"}
    async with browser.request("POST", url, data=b"x" * MEGABYTE) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)
    page = {"Accept": "text/html,*/*", "Sec-Fetch-Mode": "navigate"}
    async with browser.request("GET", url, page) as answer:
        assert answer.status == status
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        text = await answer.text()
    assert code in text
    if code == "service_exited":
        assert "one &lt;line&gt;\nValueError: no" in text


async def test_a_service_that_is_gone_is_started_again(browser: Browser, outer: OuterServer) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    url = browser.url(id="again")
    for number in range(2):
        async with serve_raw(outer.sockets / f"again.app.{number}.sock", talk):
            async with browser.request("GET", url) as answer:
                assert await answer.read() == b"ok"
            async with browser.request("POST", url, data=b"x") as answer:
                assert await answer.read() == b"ok"
    assert outer.starts().count("again app") == 2


async def test_an_idle_connection_that_the_service_closed_costs_nobody_a_request(
    browser: Browser, outer: OuterServer
) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        await writer.drain()

    async with serve_raw(outer.sockets / "idle.app.sock", talk):
        for _ in range(10):
            async with browser.request("GET", browser.url(id="idle")) as answer:
                assert answer.status == 200
            async with browser.request("DELETE", browser.url(id="idle")) as answer:
                assert answer.status == 200
    assert connections == 20


async def test_connections_are_kept_and_used_again(browser: Browser, outer: OuterServer) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while not reader.at_eof():
            await read_head(reader)
            writer.write(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await writer.drain()
            writer.write(b"3\r\nabc\r\n0\r\n\r\n")
            await writer.drain()

    async with serve_raw(outer.sockets / "keep.app.sock", talk):
        for _ in range(5):
            async with browser.request("GET", browser.url(id="keep")) as answer:
                assert await answer.read() == b"abc"
    assert connections == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nContent-", 502),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200),
    ],
)
async def test_a_service_that_breaks_off_or_talks_nonsense(
    browser: Browser, outer: OuterServer, said: bytes, status: int
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(said)
        await writer.drain()

    service = serve_raw(outer.sockets / "odd.app.sock", talk)
    async with service, browser.request("GET", browser.url(id="odd")) as answer:
        assert answer.status == status
        if status == 200:
            assert await answer.read() == b"until the end"
        else:
            error = await answer.json()
            assert error["code"] == "environment_failed"
            assert "app" in error["message"]


@pytest.mark.parametrize(
    ("head", "version"),
    [
        (b"Content-Length: 1000000", "1.1"),
        (b"Transfer-Encoding: chunked", "1.1"),
        (b"Transfer-Encoding: chunked", "1.0"),
    ],
)
async def test_a_body_that_breaks_off_never_looks_complete(
    browser: Browser, outer: OuterServer, head: bytes, version: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b"4000\r\n" + b"x" * 0x4000)
        await writer.drain()

    async with serve_raw(outer.sockets / "half.app.sock", talk):
        reader, _ = await browser.raw(f"GET {outer.path('half', 'app')} HTTP/{version}")
        failed = False
        try:
            data = await reader.read()
        except ConnectionResetError:
            failed = True
        if not failed:
            answer, _, body = data.partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert version == "1.1"
            assert not body.endswith(b"0\r\n\r\n")
            assert len(body) < 1000000


async def test_an_early_answer_arrives_although_the_body_was_not_read(browser: Browser, outer: OuterServer) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        await writer.drain()

    async with serve_raw(outer.sockets / "early.app.sock", talk):
        url = browser.url(id="early")
        async with browser.request("POST", url, data=b"x" * (20 * MEGABYTE)) as answer:
            assert answer.status == 413
            assert await answer.read() == b"big"


async def test_text_is_not_compressed_on_the_way(browser: Browser, outer: OuterServer) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        body = b"a" * 10000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10000\r\n\r\n" + body)
        await writer.drain()

    service = serve_raw(outer.sockets / "gz.app.sock", talk)
    async with service, browser.request("GET", browser.url(id="gz"), {"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Content-Length"] == "10000"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert await answer.read() == b"a" * 10000


async def test_tcp_services_are_reached_too(browser: Browser, outer: OuterServer) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntcp")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = outer.sockets / "tcp.8000.tcp"
    address.write_text(f"127.0.0.1 {port}")
    async with browser.request("GET", browser.url(id="tcp", endpoint="8000")) as answer:
        assert await answer.read() == b"tcp"
    server.close()
    await server.wait_closed()
    async with browser.request("GET", browser.url(id="tcp", endpoint="8000")) as answer:
        assert answer.status == 502
        assert "Nothing accepts connections on port " in (await answer.json())["message"]
    address.unlink()


async def test_many_at_once_do_not_mix(browser: Browser, inner: Inner) -> None:
    async def one(number: int) -> None:
        async with browser.post(f"echo?n={number}", data=f"{number}" * 1000) as answer:
            seen: dict[str, Any] = await answer.json()
        assert seen["target"].endswith(f"n={number}")
        assert seen["body"] == f"{number}" * 1000

    await asyncio.gather(*(one(number) for number in range(100)))


async def test_smuggling_is_refused(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    """Two lengths for one body: what the outer and the inner server make of it must not differ."""
    reader, writer = await browser.raw(
        f"POST {outer.path('env', 'app', '/up')} HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
    )
    writer.write(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
    with suppress(ConnectionResetError):  # what was not read when the server hung up takes the answer along
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    async with browser.get("alive") as answer:
        assert answer.status == 200
    assert not any("smuggled" in request for request in inner.requests)


async def test_a_chunked_body_of_no_bytes_has_an_end(browser: Browser, outer: OuterServer) -> None:
    """It has come as a whole before the service is reached for the first time."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n0\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with serve_raw(outer.sockets / "none.app.sock", talk):
        head = f"POST {outer.path('none', 'app')} HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked"
        reader, writer = await browser.raw(head)
        writer.write(b"0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"ok")
        writer.close()


async def test_a_bad_upload_is_let_go(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    """The browser leaves in the middle of an upload; the server goes on and the service hears of it."""
    _, writer = await browser.raw(f"POST {outer.path('env', 'app', '/up')} HTTP/1.1\r\nContent-Length: 1000000")
    writer.write(b"x" * 1000)
    await writer.drain()
    writer.transport.abort()
    async with browser.post("up", data=b"abc") as answer:
        assert (await answer.json())["size"] == 3
