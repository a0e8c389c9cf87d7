"""Kernels, services and shells have what the image's entrypoint and `conda activate` set."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from jupyter_mlenv.agent import activation
from jupyter_mlenv.agent.loop import Loop, wait
from jupyter_mlenv.agent.runtime import Runtime
from jupyter_mlenv.agent_client import AgentClient
from tests.support.agents import agent, alive, interpreters

NAMES = ("GDAL_DATA", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "SAID", "PYTHONPATH", "GONE", "HOME", "ODD")
LOOK = f"import json, os; print(json.dumps({{n: os.environ.get(n) for n in {NAMES}}}))"
SCRIPT = """#!/bin/sh
set -e
echo hello from the entrypoint
export PYTHONPATH=/opt/lib SAID="two
lines" HOME=/x
unset GONE
"""


async def variables(client: AgentClient, python: str = sys.executable) -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads(await printed(client, python, "-E", "-s", "-c", LOOK))
    return found


async def printed(client: AgentClient, *command: str) -> str:
    async with await client.exec(list(command)) as session:
        return b"".join([data async for stream, data in session if stream == "stdout"]).decode().strip()


def script(folder: Path, end: str = 'exec "$@"\n', begin: str = SCRIPT) -> str:
    path = folder / "entry.sh"
    path.write_text(begin + end)
    path.chmod(0o755)
    return str(path)


def entrypoint(*words: str) -> Mapping[str, str]:
    return {"entrypoint.json": json.dumps(words)}


async def test_what_an_entrypoint_sets_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONE", "1")
    async with agent(files=entrypoint("tini", "-g", "--", script(tmp_path))) as running:
        found = await variables(running.client)
        assert (found["PYTHONPATH"], found["SAID"], found["GONE"]) == ("/opt/lib", "two\nlines", None)
        assert found["HOME"] == os.environ["HOME"]
        assert "[entrypoint] hello from the entrypoint" in running.output.read_text()


@pytest.mark.parametrize(
    ("end", "said"),
    [("exit 3\n# $@\n", "ended with 3 and has run nothing"), ("echo no more\n", "is not run"), ("(", "is not run")],
)
async def test_one_that_fails_is_said_and_hinders_nothing(tmp_path: Path, end: str, said: str) -> None:
    async with agent(files=entrypoint(script(tmp_path, end))) as running:
        assert (await variables(running.client))["SAID"] is None
        assert said in running.output.read_text()
        assert not running.failed()


def test_one_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(activation, "SECONDS", 0.5)
    monkeypatch.delenv("SAID", raising=False)
    loop = Loop()
    runtime = Runtime(loop, str(tmp_path))

    async def reap() -> None:
        while True:
            runtime.reap()
            await wait([], 0.01)

    async def run() -> None:
        await activation.adopt(
            loop, runtime.children, "entrypoint", [script(tmp_path, 'sleep 600 & echo "$!" >pid; wait\n')]
        )
        loop.stopped = True

    monkeypatch.chdir(tmp_path)
    loop.spawn(reap())
    loop.spawn(run())
    loop.run()
    assert "did not end in 0.5 s" in capfd.readouterr().err
    assert "SAID" not in os.environ
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["/entry.sh"], True),
        (["bash", "/entry.sh"], True),
        (["conda", "run", "-n", "x"], True),
        (["bash", "-c"], False),
        (["cat", "train.py"], False),
        (["jupyter", "lab"], False),
        (["/nowhere.sh"], False),
    ],
)
def test_only_what_runs_the_words_behind_it_is_run(tmp_path: Path, words: list[str], runs: bool) -> None:
    path = script(tmp_path)
    assert activation.hands_over([path if word == "/entry.sh" else word for word in words]) is runs


def test_an_init_in_front_is_left_out() -> None:
    assert activation.without_init(["tini", "-g", "--", "dumb-init", "--", "/a", "-g"]) == ["/a", "-g"]
    assert activation.without_init(["tini", "--"]) == []


@pytest.fixture(params=interpreters())
def conda(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A conda environment as far as activating it goes."""
    prefix = tmp_path / "envs" / "geo"
    for folder in ("bin", "conda-meta", "etc/conda/activate.d", "etc/conda/env_vars.d"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(request.param)
    for name in ("mytool", "other"):
        shutil.copy("/bin/true", prefix / "bin" / name)
    (prefix / "etc/conda/activate.d/gdal.sh").write_text('export GDAL_DATA="$CONDA_PREFIX/share/gdal"\n')
    (prefix / "etc/conda/env_vars.d/pkg.json").write_text('{"SAID": "by a package", "ODD": 1}')
    (prefix / "conda-meta/state").write_text('{"env_vars": {"SAID": "by the person"}, "version": 1}')
    return prefix


async def test_a_conda_environment_is_activated(conda: Path) -> None:
    async with agent(str(conda / "bin" / "python")) as running:
        found = await variables(running.client, "python")
        assert found["GDAL_DATA"] == f"{conda}/share/gdal"
        assert (found["CONDA_PREFIX"], found["CONDA_DEFAULT_ENV"]) == (str(conda), "geo")
        assert (found["SAID"], found["ODD"]) == ("by the person", "1")
        assert await printed(running.client, "sh", "-c", "command -v mytool") == f"{conda}/bin/mytool"
        # As a terminal of JupyterLab: /etc/profile sets another PATH, the home directory's .profile sets ours again.
        assert f"{conda}/bin" in (await printed(running.client, "sh", "-c", 'echo "$MLENV_PATH"')).split(":")[:2]


async def test_broken_activation_scripts_hinder_nothing(conda: Path) -> None:
    (conda / "etc/conda/activate.d/bad.sh").write_text("exit 7\n")
    (conda / "conda-meta/state").write_text("no JSON")
    async with agent(str(conda / "bin" / "python")) as running:
        found = await variables(running.client, "python")
        assert (found["CONDA_PREFIX"], found["SAID"]) == (str(conda), "by a package")
        assert "[conda activate] ended with 7" in running.output.read_text()
