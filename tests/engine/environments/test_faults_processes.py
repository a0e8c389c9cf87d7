"""Several processes at one environment, and processes that are killed in the middle of a start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import EnvironmentNotFound
from tests.support.environments import BOX, Left, Named, Settings, inspected, opened, start
from tests.support.gates import gate

DIES = """
import asyncio, os, signal, sys
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.planning.model import StartRequest
from traitlets.config import Config

owner, run_root, presets, preset, workspace, at = sys.argv[1:]

async def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    setattr(DockerEngine, at, killed)
    config = {"owner": owner, "run_root": run_root, "preset_paths": [presets]}
    settings = MlenvConfig(config=Config({"MlenvConfig": config})).settings()
    _, job = await Environments(DockerEngine(), settings, Jobs()).start(StartRequest(preset, workspace))
    await job.wait()

asyncio.run(main())
"""
"""A start in a process that is killed at the moment when it would call a method of the engine."""

Run = Callable[..., Coroutine[Any, Any, asyncio.subprocess.Process]]


@pytest.fixture
async def environments(settings: Settings) -> AsyncIterator[Environments]:
    async with opened(settings()) as environments:
        yield environments


@pytest.fixture
def run(environments: Environments) -> Run:
    """Starts `jupyter mlenv …` with the same settings, in a process of its own."""

    async def spawn(*words: str, cwd: Path) -> asyncio.subprocess.Process:
        settings = environments.settings
        options = [
            f"--MlenvConfig.owner={settings.owner}",
            f"--MlenvConfig.run_root={settings.run_root}",
            f"--MlenvConfig.preset_paths={settings.preset_paths[0]}",
        ]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyter_mlenv.cli", *words, *options),
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return spawn


async def test_two_processes_start_one_environment(
    environments: Environments, run: Run, named: Named, workspace: Path
) -> None:
    preset = named("box", BOX)
    processes = [await run("start", preset, "--json", cwd=workspace) for _ in range(3)]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    ids = {json.loads(out)["id"] for out, _ in ended}
    states = {json.loads(out)["state"] for out, _ in ended}
    assert (len(ids), states) == (1, {"running"})
    (environment,) = await environments.list()
    assert environment.id in ids
    assert (await (await environments.agent(environment.id)).health())["version"]


async def test_two_processes_make_one_environment_anew(
    environments: Environments, run: Run, named: Named, workspace: Path
) -> None:
    preset = named("box", BOX)
    first, _ = await start(environments, preset, workspace)
    processes = [await run("start", preset, "--recreate", "--json", cwd=workspace) for _ in range(3)]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    (environment,) = await environments.list()
    assert (environment.id, environment.state) == (first.id, State.RUNNING)
    assert environment.container != first.container
    assert (await (await environments.agent(environment.id)).health())["version"]


async def test_one_that_is_killed_in_the_middle_of_a_build(
    environments: Environments, run: Run, named: Named, base_image: str, workspace: Path
) -> None:
    async with gate() as gate_:
        (Path(environments.settings.preset_paths[0]) / "Slow").write_text(f"FROM {base_image}\n{gate_.command}\n")
        preset = named("slow", '[image]\ndockerfile = "Slow"\n')
        process = await run("start", preset, cwd=workspace)
        await gate_.reached()
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await gate_.left()
        assert await environments.list() == []
        gate_.open()
        assert (await start(environments, preset, workspace))[0].state is State.RUNNING


@pytest.mark.parametrize("at", ["create", "put_files", "start"])
async def test_one_that_is_killed_on_the_way(
    environments: Environments, named: Named, workspace: Path, left: Left, at: str
) -> None:
    preset = named("box", BOX)
    await die(environments, preset, workspace, at)
    assert left() != []
    environment, _ = await start(environments, preset, workspace)
    assert environment.state is State.RUNNING
    assert (await (await environments.agent(environment.id)).health())["version"]
    assert len(left()) == 2  # one container, one run directory
    await environments.remove(environment.id)
    assert left() == []


async def test_what_a_killed_one_left_is_not_started_as_it_is(
    environments: Environments, named: Named, workspace: Path, left: Left
) -> None:
    """A container without its files would only fail in a stranger way."""
    preset = named("box", BOX)
    await die(environments, preset, workspace, "put_files")
    (half,) = await environments.list()
    assert half.state is State.STARTING
    _, job = await environments.resume(half.id)
    with pytest.raises(EnvironmentNotFound, match="interrupted") as caught:
        await job.wait()
    assert preset in caught.value.hint
    assert left() == []


async def die(environments: Environments, preset: str, workspace: Path, at: str) -> None:
    """A start in another process that is killed when it would call this method of the engine."""
    settings = environments.settings
    arguments = [settings.owner, settings.run_root, settings.preset_paths[0], preset, str(workspace), at]
    died = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES, *arguments), env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert await died.wait() == -signal.SIGKILL


async def test_one_that_is_made_anew_by_another_process(
    environments: Environments, run: Run, named: Named, workspace: Path
) -> None:
    """Another container, another token; nobody told this process."""
    preset = named("box", BOX)
    environment, _ = await start(environments, preset, workspace)
    before = (await (await environments.agent(environment.id)).health())["pid"], inspected(environment.id)["Id"]
    for words in (("rm", "--yes", environment.id), ("start", preset)):
        process = await run(*words, cwd=workspace)
        out, err = await process.communicate()
        assert process.returncode == 0, (out, err)
    assert inspected(environment.id)["Id"] != before[1]
    assert (await (await environments.agent(environment.id)).health())["version"]
