"""Fixtures and a client for the tests of the proxy. Import the fixtures where they are used."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.support.inner import Inner, serve
from tests.support.outer import OuterServer

BASE_URL = "/user/alice%40b/"


@pytest.fixture(scope="module")
def outer() -> Iterator[OuterServer]:
    """A running Jupyter server under `BASE_URL`; its folder is short, since socket paths are."""
    with tempfile.TemporaryDirectory(prefix="mlenv-proxy-", dir="/tmp") as folder:
        server = OuterServer(Path(folder), BASE_URL)
        server.start()
        try:
            yield server
            assert "Traceback" not in server.log(), server.log()
        finally:
            server.stop()


@pytest.fixture
async def inner(outer: OuterServer) -> AsyncIterator[Inner]:
    """The application behind `app`, `8501`, `notebook` and `tensorboard` of the environment `env`."""
    path = outer.sockets / "env.app.1.sock"
    links = [outer.sockets / f"env.{endpoint}.1.sock" for endpoint in ("8501", "notebook", "tensorboard")]
    async with serve(path, outer.path("env", "app")) as application:
        for link in links:
            link.hardlink_to(path)  # a symbolic link as a socket is refused
        yield application
    for link in links:
        link.unlink()


@pytest.fixture
async def browser(outer: OuterServer) -> AsyncIterator[Browser]:
    """Somebody who logged in with the token, in a browser."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
        yield Browser(session, outer, outer.login())


class Browser:
    """Sends the login cookie and what a page of the same origin sends; addresses are paths of `env`'s `app`."""

    def __init__(self, session: aiohttp.ClientSession, outer: OuterServer, cookies: dict[str, str]) -> None:
        self.session = session
        self.outer = outer
        self.cookies = cookies

    def url(self, rest: str = "", id: str = "env", endpoint: str = "app") -> URL:
        return URL(self.outer.url(id, endpoint, f"/{rest}"), encoded=True)

    def headers(self, more: dict[str, str] | None = None, **cookies: str) -> dict[str, str]:
        """The headers of a request that a page of this server makes."""
        jar = "; ".join(f"{name}={value}" for name, value in (self.cookies | cookies).items())
        return {"Cookie": jar, "Origin": self.outer.origin, "Sec-Fetch-Site": "same-origin", **(more or {})}

    def request(self, method: str, url: URL, headers: dict[str, str] | None = None, **options: object):  # type: ignore[no-untyped-def]
        """A context manager that gives the answer; redirects are not followed."""
        return self.session.request(
            method, url, headers=self.headers(headers), allow_redirects=False, timeout=_TIMEOUT, **options
        )

    def get(self, rest: str = "", headers: dict[str, str] | None = None, **options: object):  # type: ignore[no-untyped-def]
        return self.request("GET", self.url(rest), headers, **options)

    def get_at(self, path: str):  # type: ignore[no-untyped-def]
        """GET of a path below the server's base URL."""
        return self.request("GET", URL(f"{self.outer.origin}{self.outer.base_url}{path}", encoded=True))

    def post(self, rest: str = "", headers: dict[str, str] | None = None, **options: object):  # type: ignore[no-untyped-def]
        return self.request("POST", self.url(rest), headers, **options)

    def ws(self, rest: str = "ws", headers: dict[str, str] | None = None, **options: object):  # type: ignore[no-untyped-def]
        return self.session.ws_connect(self.url(rest), headers=self.headers(headers), max_msg_size=0, **options)

    async def raw(self, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which this request line and these header lines were sent, with cookie and host."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.outer.port)
        lines = [head, f"Host: {self.outer.host}", *(f"{n}: {v}" for n, v in self.headers().items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        return reader, writer


_TIMEOUT = aiohttp.ClientTimeout(total=30)
