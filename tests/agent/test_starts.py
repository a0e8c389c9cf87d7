"""What every start decides, against an engine in memory whose containers really run the agent."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv import agent_client, workspaces
from jupyter_mlenv.container_layout import LABEL, RUN_DIR
from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.engines.model import ContainerSpec
from jupyter_mlenv.environments import Environments, lifecycle
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.locks import Locks
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import (
    AgentUnreachable,
    EngineElsewhere,
    EnvironmentNotFound,
    EnvironmentNotRunning,
    ImageNotFound,
    LimitExceeded,
    NameConflict,
    NotFound,
    SourceMissing,
    WorkspaceForbidden,
)
from jupyter_mlenv.kernels import placement
from jupyter_mlenv.kernels.remote_kernel import RemoteKernel
from jupyter_mlenv.kernels.use_cases import UseCases
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.settings import Settings
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually


@pytest.fixture
def settings(person: Settings, presets: Path) -> Settings:
    (presets / "small.toml").write_text('[image]\nreference = "registry.test/small:1"')
    (presets / "lost.toml").write_text('[image]\nreference = "registry.test/lost:1"')
    return person


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = FakeEngine(registry={"registry.test/small:1": [1000]})
    yield engine
    await engine.close()


@asynccontextmanager
async def opened(engine: FakeEngine, settings: Settings) -> AsyncIterator[Environments]:
    environments = Environments(engine, settings, Jobs())
    try:
        yield environments
        for environment in await environments.list():
            await environments.remove(environment.id)
    finally:
        await environments.close()


@pytest.fixture
async def environments(engine: FakeEngine, settings: Settings) -> AsyncIterator[Environments]:
    async with opened(engine, settings) as environments:
        yield environments


@pytest.fixture
def small(workspace: Path) -> StartRequest:
    return StartRequest("small", str(workspace))


async def started(environments: Environments, request: StartRequest) -> Environment:
    return await (await environments.start(request))[1].wait()


@pytest.mark.parametrize("shared", [True, False])
async def test_an_engine_that_sees_other_files_is_refused(
    settings: Settings, small: StartRequest, tmp_path: Path, run_root: str, shared: bool
) -> None:
    """As one from a snap, in another mount namespace, or on another machine: what is written there would be lost."""
    os.mkdir(tmp_path / "theirs")
    engine = FakeEngine(registry={"registry.test/small:1": [1000]}, shares_filesystem=shared)
    engine.sees[small.workspace] = str(tmp_path / "theirs")
    before = os.listdir(small.workspace)
    async with opened(engine, settings) as environments:
        with pytest.raises(EngineElsewhere, match="lost") as caught:
            await started(environments, small)
        assert "snap" in caught.value.hint
        assert await environments.list() == []
    assert engine.containers == {}
    assert os.listdir(run_root) == []
    assert os.listdir(small.workspace) == before


async def test_an_engine_that_has_no_such_folder_is_told_from_a_folder_that_is_gone(
    settings: Settings, small: StartRequest
) -> None:
    """The first is about where the engine is, the second about the project."""
    engine = FakeEngine(registry={"registry.test/small:1": [1000]})
    said = SourceMissing(f"{small.workspace} cannot be mounted.", details={"source": small.workspace})
    engine.fail("create", said)
    async with opened(engine, settings) as environments:
        with pytest.raises(EngineElsewhere, match="which is there on this machine") as caught:
            await started(environments, small)
        assert "snap" in caught.value.hint
        original = engine.create

        async def gone(spec: ContainerSpec) -> ContainerInfo:
            os.rename(small.workspace, f"{small.workspace}.old")
            return await original(spec)

        engine.create = gone  # type: ignore[method-assign]
        with pytest.raises(SourceMissing):
            await started(environments, small)
    assert os.listdir(settings.run_root) == []


async def test_an_agent_in_another_run_directory_is_not_waited_for(
    settings: Settings, small: StartRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an engine that makes a folder that it does not have: the agent answers in there, and nobody hears it."""
    monkeypatch.setattr(lifecycle, "SILENCE_SECONDS", 0.0)
    os.mkdir(tmp_path / "theirs")
    engine = FakeEngine(registry={"registry.test/small:1": [1000]})
    engine.sees[RUN_DIR] = str(tmp_path / "theirs")
    async with opened(engine, settings) as environments:
        with pytest.raises(EngineElsewhere, match="run directory") as caught:
            await started(environments, small)
        assert "shared_filesystem=False" in caught.value.hint
        # One that is only slow is waited for.
        engine.sees.clear()
        client = agent_client.AgentClient.health
        slow = iter(range(40))

        async def health(self: agent_client.AgentClient) -> dict[str, Any]:
            if next(slow, None) is not None:
                raise AgentUnreachable("Not yet.")
            return await client(self)

        monkeypatch.setattr(agent_client.AgentClient, "health", health)
        assert (await started(environments, small)).state is State.RUNNING
        assert engine.calls["read_file"] >= 2


async def test_an_engine_elsewhere_with_the_same_files_is_believed(settings: Settings, small: StartRequest) -> None:
    engine = FakeEngine(registry={"registry.test/small:1": [1000]}, shares_filesystem=False)
    before = os.listdir(small.workspace)
    async with opened(engine, settings) as environments:
        assert (await started(environments, small)).state is State.RUNNING
    assert os.listdir(small.workspace) == before


async def test_maxima_hold_for_what_was_made_before_them(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    made = await started(environments, replace(small, memory=2**33))
    await environments.stop(made.id)
    async with opened(engine, replace(settings, max_memory=2**30)) as stricter:
        with pytest.raises(LimitExceeded, match="max_memory is 1g"):
            await (await stricter.resume(made.id))[1].wait()
        assert (await stricter.get(made.id)).state is State.STOPPED
        assert (await started(stricter, replace(small, recreate=True))).state is State.RUNNING


async def test_images_that_are_no_longer_allowed_are_not_started(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    made = await started(environments, small)
    await environments.stop(made.id)
    async with opened(engine, replace(settings, allowed_images=("python:*",))) as stricter:
        with pytest.raises(LimitExceeded, match="allowed"):
            await (await stricter.resume(made.id))[1].wait()


async def test_a_workspace_that_is_no_longer_allowed_is_not_mounted_again(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest, tmp_path: Path
) -> None:
    made = await started(environments, small)
    async with opened(engine, replace(settings, allowed_workspaces=(str(tmp_path / "presets"),))) as stricter:
        with pytest.raises(WorkspaceForbidden):
            await (await stricter.restart(made.id))[1].wait()
        assert (await stricter.get(made.id)).state is State.RUNNING  # refused before it was stopped


@pytest.mark.parametrize("path", ["/proc/1/root", "/proc/1/cwd/x"])
def test_a_link_that_may_not_be_read_is_refused_in_words(settings: Settings, path: str) -> None:
    with pytest.raises(WorkspaceForbidden):
        workspaces.check(path, settings)


def test_a_link_that_cannot_be_resolved_is_refused_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for an ordinary person; root may read every link."""

    def denied(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(workspaces.os.path, "realpath", denied)
    with pytest.raises(WorkspaceForbidden, match="Permission denied"):
        workspaces.check("/proc/1/root", settings)


async def test_a_container_of_another_owner_is_neither_used_nor_removed(
    environments: Environments, engine: FakeEngine, small: StartRequest
) -> None:
    made = await started(environments, small)
    box = next(iter(engine.containers.values()))
    box.info = replace(box.info, labels={**box.info.labels, f"{LABEL}.owner": "bob"})
    for request in (small, replace(small, recreate=True)):
        with pytest.raises(NameConflict, match="belongs to bob"):
            await started(environments, request)
    assert list(engine.containers.values()) == [box]
    box.info = replace(box.info, labels={**box.info.labels, f"{LABEL}.owner": made.owner})


async def test_what_is_only_planned_can_be_stopped(
    environments: Environments, engine: FakeEngine, small: StartRequest
) -> None:
    engine.delays["pull"] = 600
    planned, job = await environments.start(small)
    await eventually(lambda: engine.calls["pull"], "the image is being pulled")
    stopped = await environments.stop(planned.id)
    assert (stopped.id, stopped.state, stopped.job) == (planned.id, State.STOPPED, "")
    assert job.state == "cancelled"
    with pytest.raises(EnvironmentNotFound):
        await environments.stop(planned.id)


async def test_what_is_there_goes_on_when_its_successor_cannot_be_made(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    engine.registry["registry.test/lost:1"] = [1]
    lost = replace(small, preset="lost")
    made = await started(environments, lost)
    del engine.registry["registry.test/lost:1"], engine.store["registry.test/lost:1"]
    with pytest.raises(ImageNotFound):
        await started(environments, replace(lost, recreate=True))
    assert (await environments.get(made.id)).state is State.RUNNING


async def test_two_recreates_of_two_processes_end_in_one_environment(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    first = await started(environments, small)
    other = Environments(engine, settings, Jobs())
    engine.delays["put_files"] = 0.1
    wish = replace(small, recreate=True)
    one, two = await asyncio.gather(started(environments, wish), started(other, wish))
    assert {one.state, two.state} == {State.RUNNING}
    (left,) = engine.containers  # whoever came later may have replaced, or adopted, what the other one made
    assert left in (one.container, two.container)
    assert left != first.container
    assert (await (await other.agent(one.id)).health())["version"]


async def test_nothing_is_remembered_of_ids_that_are_named(
    environments: Environments, small: StartRequest, run_root: str
) -> None:
    made = await started(environments, small)
    for number in range(20):
        with pytest.raises(EnvironmentNotFound):
            await environments.stop(f"none-{number:010d}")
    assert len(environments._lifecycle.locks) == 0
    assert os.listdir(run_root) == [made.id[-10:]]


async def test_a_kernel_waits_for_whoever_is_starting_its_environment(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    """Its agent is not talked to before what is mounted has been looked at; where it runs that costs nothing."""
    made = await started(environments, small)
    wish = placement.KernelTarget("small", small.workspace, "k1")
    other = Environments(engine, settings, Jobs())
    async with Locks(settings.run_root).held(made.id, 1):  # as a start holds it
        finding = asyncio.create_task(placement.find(other, wish))
        again = asyncio.create_task(RemoteKernel(UseCases(lambda: other, settings), "k1").attach(made.id, "/"))
        done, _ = await asyncio.wait([finding, again], timeout=0.5)
        assert not done
    assert (await finding).environment == made.id
    with pytest.raises(NotFound, match="has ended"):
        await again
    before = engine.calls.copy()
    await placement.find(other, wish)
    assert engine.calls - before == {"list": 1}


async def test_a_paused_one_says_so_and_a_start_lets_it_go_on(
    environments: Environments, engine: FakeEngine, small: StartRequest
) -> None:
    made = await started(environments, small)
    box = next(iter(engine.containers.values()))
    box.info = replace(box.info, status="paused")
    (listed,) = await environments.list()
    for seen in (listed, await environments.get(made.id)):
        assert (seen.state, "paused" in " ".join(seen.warnings)) == (State.STOPPED, True)
    with pytest.raises(EnvironmentNotRunning, match="is paused"):
        await environments.service(made.id, "8000", "/")
    assert (await started(environments, small)).state is State.RUNNING


async def test_one_that_somebody_removed_is_not_called_half_made(
    environments: Environments, engine: FakeEngine, settings: Settings, small: StartRequest
) -> None:
    made = await started(environments, small)
    other = Environments(engine, settings, Jobs())
    engine.delays["inspect"] = 0.05
    _, job = await environments.restart(made.id)
    async with environments._lifecycle.locks.held(made.id, 60):
        await engine.remove(f"mlenv-{made.id}")
        shutil.rmtree(made.run_dir)
    with pytest.raises(EnvironmentNotFound, match="meanwhile"):
        await job.wait()
    with pytest.raises(EnvironmentNotFound):
        await other.remove(made.id)
