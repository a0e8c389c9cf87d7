"""Images that cannot be had, and starts that are cancelled on the way: each says why, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.model import BuildRecipe, ContainerSpec, FileEntry, Progress
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.job import Job
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import BuildFailed, ImageNotFound, JobCancelled, RegistryUnreachable
from jupyter_mlenv.planning.model import StartRequest
from tests.support.docker import Relay
from tests.support.environments import BOX, Left, Named, Settings, failure, lines_of, opened, start
from tests.support.gates import gate
from tests.support.leftovers import connect
from tests.support.reporting import Recorder
from tests.support.waiting import eventually, free_port

T = TypeVar("T")

LAYER = 12 << 20
"""Bytes of the layer that a pull really has to fetch."""


@pytest.fixture
async def environments(settings: Settings) -> AsyncIterator[Environments]:
    async with opened(settings()) as environments:
        yield environments


@pytest.fixture
async def pushed(owner: str, registry: str, base_image: str) -> str:
    """An image with a Python in it that is in the registry, and of which the engine lacks one layer."""
    reference = f"{registry}/mlenv-test/ready:1"
    engine = DockerEngine(builder="classic")  # BuildKit's cache would keep the layer on the engine
    files = (FileEntry("data", os.urandom(LAYER)),)
    try:
        await engine.build(
            BuildRecipe(tag=reference, dockerfile=f"FROM {base_image}\nCOPY data /data\n", files=files), Recorder()
        )
        with closing(connect()) as client:
            assert "errorDetail" not in str(await asyncio.to_thread(client.push, reference))
    finally:
        await engine.remove_image(reference)
        await engine.close()
    return reference


async def test_a_pull_shows_bytes_and_then_the_environment_runs(
    environments: Environments, named: Named, pushed: str, workspace: Path
) -> None:
    preset = named("pulled", f'[image]\nreference = "{pushed}"\n')
    shown: list[Progress] = []
    environments.jobs.listen(lambda job: shown.append(job.current))
    try:
        environment, _ = await start(environments, preset, workspace)
        assert environment.state is State.RUNNING
        pulled = [step for step in shown if step.phase == "pull" and step.total]
        assert {step.unit for step in pulled} == {"bytes"}
        assert pulled[-1].total >= LAYER
        assert (pulled[-1].fraction, [step.phase for step in shown][-1]) == (1.0, "done")
        order = [phase for phase in dict.fromkeys(step.phase for step in shown) if phase != "queued"]
        assert order == ["pull", "create", "start", "done"]
        await environments.remove(environment.id)
    finally:
        await environments.engine.remove_image(pushed)


async def test_an_image_that_no_registry_has(
    environments: Environments, named: Named, registry: str, workspace: Path, left: Left
) -> None:
    reference = f"{registry}/mlenv-test/nothing:1"
    for text in (f'reference = "{reference}"', f'base = "{reference}"\npip = ["six"]'):
        error, _ = await failure(environments, named("lost", f"[image]\n{text}\n"), workspace)
        assert isinstance(error, ImageNotFound)
        assert reference in error.message
        assert left() == []


async def test_a_registry_that_does_not_answer_names_the_alias_that_helps(
    settings: Settings, named: Named, pushed: str, workspace: Path, left: Left
) -> None:
    registry, _, name = pushed.partition("/")
    away = f"127.0.0.1:{free_port()}"
    preset = named("away", f'[image]\nreference = "{away}/{name}"\n')
    built = named("away-too", f'[image]\nbase = "{away}/{name}"\npip = ["six"]\n')
    async with opened(settings()) as environments:
        for each in (preset, built):
            error, _ = await failure(environments, each, workspace)
            assert isinstance(error, RegistryUnreachable)
            assert away in error.message
            assert f"image_aliases`, for example {{'{away}': " in error.hint
        assert left() == []
    # The hint, followed.
    async with opened(settings(image_aliases={away: registry})) as environments:
        environment, _ = await start(environments, preset, workspace)
        assert environment.state is State.RUNNING
        await environments.remove(environment.id)
        await environments.engine.remove_image(pushed)


async def test_a_build_that_fails_shows_its_step_and_the_last_lines(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    (Path(environments.settings.preset_paths[0]) / "Bad").write_text(
        f"FROM {base_image}\nRUN echo fine\nRUN exec 2>&1; seq 100 && echo the reason && exit 7\n"
    )
    error, job = await failure(environments, named("bad", '[image]\ndockerfile = "Bad"\n'), workspace)
    assert isinstance(error, BuildFailed)
    assert "seq 100" in error.details["step"]
    assert error.details["exit_code"] == 7
    assert error.log == (*map(str, range(82, 101)), "the reason")
    assert {"1", "100", "the reason"} <= set(lines_of(job))
    missing = named("missing", f'[image]\nbase = "{base_image}"\nadd_jupyter = false\npip = ["no-such-thing-at-all"]\n')
    error, _ = await failure(environments, missing, workspace)
    assert isinstance(error, BuildFailed)
    assert "no-such-thing-at-all" in " ".join(error.log)
    assert "--mount" not in error.message
    assert left() == []


async def test_a_pull_that_is_cancelled(
    environments: Environments, named: Named, pushed: str, workspace: Path, left: Left
) -> None:
    registry, _, name = pushed.partition("/")
    slow = Relay(("127.0.0.1", int(registry.partition(":")[2])), rate=2 << 20)
    reference = f"127.0.0.1:{await slow.listen_tcp()}/{name}"
    try:
        preset = named("slow", f'[image]\nreference = "{reference}"\n')
        _, job = await environments.start(StartRequest(preset, str(workspace)))
        await eventually(lambda: job.current.phase == "pull" and job.current.current > 0, "bytes arrive")
        await cancelled(environments, job, left)
        assert await environments.engine.image(reference) is None
        await eventually(lambda: slow.open == 0, "the engine has let go of the registry")
    finally:
        await slow.cut()


async def test_a_build_that_is_cancelled(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    async with gate() as gate_:
        (Path(environments.settings.preset_paths[0]) / "Slow").write_text(f"FROM {base_image}\n{gate_.command}\n")
        preset = named("slow", '[image]\ndockerfile = "Slow"\n')
        environment, job = await environments.start(StartRequest(preset, str(workspace)))
        await gate_.reached()
        assert (await environments.get(environment.id)).state is State.PENDING
        await cancelled(environments, job, left)
        await gate_.left()
        assert await environments.engine.image(environment.image) is None
        # Carrying on after it is an ordinary start.
        gate_.open()
        assert (await start(environments, preset, workspace))[0].state is State.RUNNING


class Interrupted(DockerEngine):
    """Cancels `job` when the call named `at` is under way."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.job: Job | None = None

    async def create(self, spec: ContainerSpec) -> ContainerInfo:
        return await self._during("create", super().create(spec))

    async def put_files(self, container: str, files: Sequence[FileEntry]) -> None:
        await self._during("put_files", super().put_files(container, files))

    async def start(self, container: str) -> ContainerInfo:
        return await self._during("start", super().start(container))

    async def _during(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        if name == self.at:
            assert self.job is not None
            # This is the job's own task, so the call begins, and is cancelled where it first waits: for its thread.
            self.job.cancel()
        return await call


@pytest.mark.parametrize("at", ["create", "put_files", "start"])
async def test_a_start_cancelled_while_the_engine_works(
    settings: Settings, named: Named, workspace: Path, left: Left, at: str
) -> None:
    engine = Interrupted(at)
    async with opened(settings(), engine) as environments:
        _, engine.job = await environments.start(StartRequest(named("box", BOX), str(workspace)))
        with pytest.raises(JobCancelled):
            await engine.job.wait()
        assert left() == []
        assert await environments.list() == []


@pytest.mark.parametrize("message", ["Creating", "Starting", "Waiting"])
async def test_a_start_cancelled_between_two_steps(
    environments: Environments, named: Named, workspace: Path, left: Left, message: str
) -> None:
    environments.jobs.listen(lambda job: job.current.message.startswith(message) and job.cancel())
    _, job = await environments.start(StartRequest(named("box", BOX), str(workspace)))
    with pytest.raises(JobCancelled):
        await job.wait()
    assert left() == []
    assert await environments.list() == []


async def cancelled(environments: Environments, job: Job, left: Left) -> None:
    """Cancel it; once that is done nothing may be there any more."""
    job.cancel()
    with pytest.raises(JobCancelled):
        await job.wait()
    assert left() == []
    assert await environments.list() == []
