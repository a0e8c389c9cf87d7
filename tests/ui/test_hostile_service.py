"""A service that attacks the browser's state of the outer server, in a real Chromium."""

from __future__ import annotations

import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jupyter_mlenv.cli.open import _write_redirect, server_url
from tests.support.hostileservice import answer
from tests.support.observed import Console
from tests.support.outer import OuterServer

from .conftest import BASE_URL


@pytest.fixture
def outer() -> Iterator[OuterServer]:
    """A Jupyter server with the proxy alone."""
    with tempfile.TemporaryDirectory(prefix="mlenv-hostile-", dir="/tmp") as folder:
        server = OuterServer(Path(folder), BASE_URL)
        server.start()
        yield server
        server.stop()


@contextmanager
def service(path: Path, answers: dict[str, bytes]) -> Iterator[None]:
    """On a unix socket: raw answers by the last part of the address, each on a connection of its own."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answers.get(target.rpartition("/")[2], b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


WORKER = """async ([script, scope]) => {
  try {
    return (await navigator.serviceWorker.register(script, { scope })).scope;
  } catch (error) {
    return error.name;
  }
}"""
SOCKET = """url => new Promise(resolve => {
  const socket = new WebSocket(url);
  socket.onopen = () => resolve('open');
  socket.onerror = () => resolve('refused');
})"""
REGISTRATIONS = "async () => (await navigator.serviceWorker.getRegistrations()).map(one => one.scope)"


def test_login_storage_and_origin_survive(outer: OuterServer, page: Page, console: Console) -> None:
    console.expected += ["502", "WebSocket", "max scope allowed"]
    login = outer.url("", "").partition("mlenv/")[0] + f"api/status?token={outer.token}"
    page.goto(login)
    before = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    assert any(name.startswith("username-") for name in before)
    page.evaluate("localStorage.setItem('mine', 'kept')")
    evil = [f"Set-Cookie: {name}=evil; Path=/" for name in before]
    evil += [f"Set-Cookie: {name}=; Path={BASE_URL}; Max-Age=0" for name in before]
    fields = [*evil, 'Clear-Site-Data: "*"', "Service-Worker-Allowed: /", "Content-Type: text/html"]
    worker = ["Content-Type: text/javascript", f"Service-Worker-Allowed: {outer.path('env', 'app')}../../../../../../"]
    answers = {
        "switch": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(*fields, body=b"<h1>stolen</h1>"),
        "plain": answer(*fields, body=b"<h1>an ordinary page</h1>"),
        "socket": (
            "HTTP/1.1 101 x\n" + "\n".join(evil) + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ).encode(),
        "worker.js": answer(*worker, body=b"self.onfetch = event => event.respondWith(new Response('stolen'))"),
    }
    with service(outer.sockets / "env.app.1.sock", answers):
        refused = page.goto(outer.url("env", "app", "/switch"))
        assert refused is not None
        assert refused.status == 502
        assert "stolen" not in page.content()
        page.goto(outer.url("env", "app", "/plain"))
        assert "an ordinary page" in page.content()
        assert page.evaluate(SOCKET, outer.url("env", "app", "/socket").replace("http", "ws", 1)) == "refused"
        script = outer.path("env", "app", "/worker.js")
        assert page.evaluate(WORKER, [script, "/"]) == "SecurityError"
        assert page.evaluate(WORKER, [script, BASE_URL]) == "SecurityError"
        assert page.evaluate(REGISTRATIONS) == []
    page.goto(login.partition("?")[0])
    assert '"started"' in page.content()  # still logged in
    assert {cookie["name"]: cookie["value"] for cookie in page.context.cookies()} == before
    assert page.evaluate("localStorage.getItem('mine')") == "kept"


def test_a_link_from_elsewhere_asks_and_the_command_line_does_not(
    outer: OuterServer, page: Page, tmp_path: Path
) -> None:
    """For a browser, a page of a file is another web site."""
    shown = answer("Content-Type: text/html", body=b"<h1>the application</h1>")
    known = {"base_url": BASE_URL, "url": f"{outer.origin}{BASE_URL}", "token": outer.token}
    with service(outer.sockets / "env.app.1.sock", {"page?x=1": shown}):
        heading = page.get_by_role("heading")
        file = tmp_path / "open.html"
        _write_redirect(file, server_url(known, "env", "app", "page?x=1"))
        page.goto(file.as_uri())
        expect(heading).to_have_text("the application")
        assert page.url == outer.url("env", "app", "/page?x=1")

        file.write_text(f'<a href="{outer.url("env", "app", "/page?x=1")}">win a prize</a>')
        page.goto(file.as_uri())
        page.get_by_role("link").click()
        expect(heading).to_have_text("Open app of env?")
        page.get_by_role("link", name="Open").click()
        expect(heading).to_have_text("the application")
