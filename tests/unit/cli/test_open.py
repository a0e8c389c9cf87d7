"""`open` chooses the right page, finds a running Jupyter server that knows the environment, and leaks no secret."""

from __future__ import annotations

import argparse
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from jupyter_mlenv.cli import open as opening
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import EndpointNotFound
from jupyter_mlenv.presets.model import Endpoint
from jupyter_mlenv.proxy import open_link
from tests.support.waiting import eventually

ENVIRONMENT = Environment(
    id="python-1111111111",
    preset="python",
    title="",
    name="",
    owner="o",
    workspace="/w",
    state=State.RUNNING,
    image="",
    endpoints=(Endpoint("tensorboard", "", ()), Endpoint("notebook", "", (), open="lab")),
)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("", ("notebook", "lab")), ("tensorboard", ("tensorboard", "")), ("8050", ("8050", ""))],
)
def test_the_endpoint_and_its_page(word: str, expected: tuple[str, str]) -> None:
    assert opening.choose(ENVIRONMENT, word) == expected


def test_an_unknown_endpoint_names_the_nearest() -> None:
    with pytest.raises(EndpointNotFound, match="Did you mean 'notebook'"):
        opening.choose(ENVIRONMENT, "notebok")


def test_the_server_s_token_goes_to_its_login_page_only() -> None:
    server = {"url": "http://127.0.0.1:8888/user/a%40b/", "base_url": "/user/a%40b/", "token": "s3cret"}
    url = opening.server_url(server, "python-1", "notebook", "lab")
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    assert (parts.netloc, parts.path) == ("127.0.0.1:8888", "/user/a%40b/login")
    assert query["token"] == ["s3cret"]
    assert "s3cret" not in query["next"][0]
    assert open_link.opened("s3cret", query["next"][0]) == "/user/a%40b/mlenv/envs/python-1/notebook/lab"
    assert open_link.opened("another", query["next"][0]) == ""
    without = opening.server_url({**server, "token": ""}, "python-1", "notebook", "lab")
    assert without == "http://127.0.0.1:8888/user/a%40b/mlenv/envs/python-1/notebook/lab"


@asynccontextmanager
async def jupyter_server(runtime_dir: Path, known: str) -> AsyncIterator[str]:
    """A server that has the extension's API for one environment, listed where Jupyter lists running servers."""

    async def environment(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "token s3cret":
            return web.Response(status=403)
        if not request.raw_path.startswith("/user/a%40b/"):  # as tornado matches it
            return web.Response(status=404)
        return web.Response(status=200 if request.match_info["id"] == known else 404)

    app = web.Application()
    app.router.add_get("/user/{name}/mlenv/api/environments/{id}", environment)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{port}/user/a%40b/"
    info = {"url": url, "base_url": "/user/a%40b/", "token": "s3cret", "pid": os.getpid(), "password": False}
    (runtime_dir / f"jpserver-{os.getpid()}.json").write_text(json.dumps(info))
    try:
        yield url
    finally:
        await runner.cleanup()


async def test_a_server_is_used_only_if_it_knows_the_environment(tmp_path: Path) -> None:
    assert await opening.find_server("python-1", str(tmp_path)) is None
    (tmp_path / "jpserver-1.json").write_text("{half")
    (tmp_path / "jpserver-2.json").write_text(json.dumps({"url": "http+unix://%2Fsock/", "pid": os.getpid()}))
    async with jupyter_server(tmp_path, "python-1") as url:
        found = await opening.find_server("python-1", str(tmp_path))
        assert found is not None
        assert found["url"] == url
        assert await opening.find_server("python-2", str(tmp_path)) is None
    assert await opening.find_server("python-1", str(tmp_path)) is None


async def test_the_browser_reads_the_address_from_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int, str]] = []

    def browser(url: str, new: int = 0) -> bool:
        path = Path(url.removeprefix("file://"))
        seen.append((url, stat.S_IMODE(path.stat().st_mode), path.read_text()))
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    url = "http://127.0.0.1:1/secret/?a=1&b=2"
    async with opening.shown(url, argparse.Namespace(json=False, no_browser=False), str(tmp_path)):
        await eventually(lambda: seen, "the browser has been opened")
    ((given, mode, page),) = seen
    assert "secret" not in given
    assert mode == 0o600
    assert "http://127.0.0.1:1/secret/?a=1&amp;b=2" in page
    assert os.listdir(tmp_path) == []
    assert url in capsys.readouterr().out
