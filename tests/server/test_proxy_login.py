"""Who may use the proxy of a real Jupyter server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from jupyter_mlenv.proxy.open_link import sealed
from tests.support.inner import Inner, serve
from tests.support.outer import OuterServer
from tests.support.proxied import BASE_URL, Browser, browser, inner, outer

__all__ = ["browser", "inner", "outer"]

VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("verb", VERBS)
async def test_without_a_login_every_verb_is_refused(browser: Browser, inner: Inner, verb: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=forged"}):
        async with browser.session.request(verb, browser.url("echo"), headers=headers, allow_redirects=False) as answer:
            assert answer.status == 403
    assert inner.requests == []


async def test_a_person_is_sent_to_the_login_page(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    url = browser.url("echo?x=1")
    for headers in ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}, {"Accept": "text/html"}):
        async with browser.session.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["Location"].startswith(f"{outer.base_url}login?next=")
        async with browser.session.post(url, headers=headers, data=b"x", allow_redirects=False) as answer:
            assert answer.status == 403
    assert inner.requests == []


async def test_a_refused_upload_gets_its_answer(browser: Browser, inner: Inner) -> None:
    async with browser.session.post(browser.url("up"), data=b"x" * (50 * MEGABYTE)) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "forbidden"


async def test_the_token_is_enough(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    async with browser.session.post(
        browser.url("echo"), headers={"Authorization": f"token {outer.token}"}, data=b"x"
    ) as answer:
        assert answer.status == 200
    for _ in range(2):  # A cookie is set each time, so that what the page loads next is allowed as well.
        async with browser.session.get(browser.url(f"echo?token={outer.token}")) as answer:
            assert answer.status == 200
            assert outer.token not in await answer.text()
            assert any("username-" in value for value in answer.headers.getall("Set-Cookie"))


async def test_a_logout_works_at_once(browser: Browser, inner: Inner) -> None:
    async with browser.get("echo") as answer:
        assert answer.status == 200
    browser.cookies.clear()
    async with browser.get("echo") as answer:
        assert answer.status == 403


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Referer": "https://evil.example/"},
        {},
    ],
)
async def test_other_sites_cannot_change_anything(
    browser: Browser, inner: Inner, verb: str, headers: dict[str, str]
) -> None:
    jar = {"Cookie": browser.headers()["Cookie"]}
    async with browser.session.request(verb, browser.url("echo"), headers=jar | headers) as answer:
        assert answer.status == 403
        assert (await answer.json())["message"].startswith("Refused, because")
    assert inner.requests == []


async def test_other_sites_cannot_include_content(browser: Browser, inner: Inner) -> None:
    jar = {"Cookie": browser.headers()["Cookie"], "Sec-Fetch-Site": "cross-site"}
    async with browser.session.get(browser.url("echo"), headers=jar | {"Sec-Fetch-Mode": "no-cors"}) as answer:
        assert answer.status == 403
    frame = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    async with browser.session.get(browser.url("echo"), headers=jar | frame) as answer:
        assert answer.status == 403
    assert inner.requests == []


async def test_a_link_of_another_site_asks_first(browser: Browser, inner: Inner, outer: OuterServer) -> None:
    """The page's own link then comes from this server. The command line seals its links, and they go on at once."""
    jar = {"Cookie": browser.headers()["Cookie"], "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    url = browser.url("echo?delete=all")
    async with browser.session.get(url, headers=jar | {"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 200
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert '<a href="">Open</a>' in await answer.text()
    assert inner.requests == []
    async with browser.session.get(url, headers=jar | {"Sec-Fetch-Site": "same-origin"}) as answer:
        assert (await answer.json())["target"].endswith("echo?delete=all")
    sealed_url = URL(outer.origin + sealed(outer.token, url.raw_path_qs), encoded=True)
    for address, onward in ((sealed_url, True), (URL(f"{sealed_url}0", encoded=True), False)):
        async with browser.session.get(address, headers=jar | {"Sec-Fetch-Site": "cross-site"}) as answer:
            goes_on = 'http-equiv="refresh" content="0; url=' + url.raw_path_qs in await answer.text()
            assert goes_on is onward
            assert len(inner.requests) == 1
    stranger = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
    async with browser.session.get(url, headers=stranger, allow_redirects=False) as answer:
        assert "login?next=" in answer.headers["Location"]


@pytest.fixture
async def guarded() -> AsyncIterator[Browser]:
    """A server whose identity provider and authorizer are asynchronous, as a hub's are."""
    with tempfile.TemporaryDirectory(prefix="mlenv-proxy-", dir="/tmp") as folder:
        options = [
            "--ServerApp.identity_provider_class=tests.support.outerauth.HeaderIdentityProvider",
            "--ServerApp.authorizer_class=tests.support.outerauth.OnlyAlice",
        ]
        server = OuterServer(Path(folder), BASE_URL, options)
        server.start()
        try:
            async with (
                serve(server.sockets / "env.app.sock", server.path("env", "app")),
                aiohttp.ClientSession() as session,
            ):
                yield Browser(session, server, {})
        finally:
            server.stop()


async def test_asynchronous_identity_and_authorization_count(guarded: Browser) -> None:
    async def status(**headers: str) -> int:
        async with guarded.session.get(guarded.url("echo"), headers=headers, allow_redirects=False) as answer:
            return answer.status

    assert await status(Remote="alice") == 200
    assert await status(Remote="bob") == 403
    assert await status() == 403
    assert await status(Remote="alice", Forbid="env") == 403
    assert await status(Remote="alice") == 200
