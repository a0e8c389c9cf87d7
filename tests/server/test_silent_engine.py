"""An engine that takes connections and does not answer, or takes its time."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.engines.docker import DockerEngine, connection, session
from jupyter_mlenv.errors import EngineUnavailable
from tests.support import fakedocker
from tests.support.outer import ROOT, free_port
from tests.support.servers import EXTENSIONS
from tests.support.waiting import eventually, wait_until


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[fakedocker.FakeDocker]:
    async with fakedocker.fake_docker(tmp_path) as fake:
        yield fake


async def test_all_who_wait_for_a_silent_engine_are_told_at_once(
    fake: fakedocker.FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "GREETING_TIMEOUT_SECONDS", 0.5)
    fake.answers["GET "] = fakedocker.silent
    engine = DockerEngine(fake.url)
    answers = await asyncio.gather(*(engine.list({}) for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {EngineUnavailable}
    assert fake.requests == ["GET /_ping"], "one question for all"
    assert f"The container engine at {fake.url}" in str(answers[0])
    assert "does not answer" in str(answers[0])
    assert "docker version" in answers[0].hint  # type: ignore[union-attr]
    await engine.close()


async def test_an_engine_that_falls_silent_is_noticed(
    fake: fakedocker.FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "QUESTION_TIMEOUT_SECONDS", 0.5)
    engine = DockerEngine(fake.url)
    await engine.facts()
    fake.answers["GET /containers"] = fakedocker.silent
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await engine.list({})
    del fake.answers["GET /containers"]
    assert list(await engine.list({})) == []
    await engine.close()


async def test_an_engine_that_takes_its_time_is_used(fake: fakedocker.FakeDocker) -> None:
    fake.delay = 0.5
    engine = DockerEngine(fake.url)
    assert (await engine.facts()).version == "20.10.24"
    assert list(await engine.list({})) == []
    await engine.close()


async def test_closing_ends_what_waits_for_an_answer(fake: fakedocker.FakeDocker) -> None:
    fake.answers["GET "] = fakedocker.silent
    engine = DockerEngine(fake.url)
    waiting = asyncio.ensure_future(engine.list({}))
    await eventually(lambda: fake.requests, "it is asked")
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await waiting
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.list({})
    await eventually(lambda: not [t for t in threading.enumerate() if "mlenv-docker" in t.name], "no thread is left")
    assert connection.GREETING_TIMEOUT_SECONDS < 10


@pytest.mark.parametrize("mode", ["silent", "slow"])
async def test_a_server_with_such_an_engine_answers_and_ends_when_it_is_told_to(
    fake: fakedocker.FakeDocker, tmp_path: Path, run_root: str, mode: str
) -> None:
    """The limit is 10 s; a busy machine gets more, and less than the 45 s that it took."""
    if mode == "silent":
        fake.answers["GET "] = fakedocker.silent
    fake.delay = 5.0
    port = free_port()
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "JUPYTER_NO_CONFIG": "1", "PYTHONPATH": str(ROOT)}
    command = [
        *(sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1", "--allow-root"),
        *(f"--ServerApp.port={port}", "--IdentityProvider.token=t", f"--ServerApp.root_dir={home}"),
        *(f"--ServerApp.jpserver_extensions={EXTENSIONS}", f"--MlenvConfig.engine_url={fake.url}"),
        f"--MlenvConfig.run_root={run_root}",
    ]
    with (tmp_path / "server.log").open("wb") as log:
        process = await asyncio.to_thread(
            subprocess.Popen, command, env={**environment, "JUPYTER_RUNTIME_DIR": f"{tmp_path}/rt"}, stderr=log
        )
    try:

        def ask(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            headers = {"Authorization": "token t", "Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        def up() -> bool:
            with suppress(OSError):
                return bool(ask("api/status"))
            return False

        await asyncio.to_thread(wait_until, up, "the server answers", timeout=60)
        start = {"preset": "host", "path": "project"}
        waiting = [
            asyncio.ensure_future(asyncio.to_thread(ask, *arguments))
            for arguments in (("mlenv/api/environments",), ("mlenv/api/environments", start), ("mlenv/api/presets",))
        ]
        await eventually(lambda: fake.requests, "the engine is asked")
        assert "started" in await asyncio.to_thread(ask, "api/status"), "meanwhile others are answered"
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)
        await asyncio.wait(waiting)
        assert all(isinstance(one.exception(), (OSError, urllib.error.HTTPError, type(None))) for one in waiting)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
