"""The engine goes away under us and comes back, as with a restart of its daemon; environments outlive both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client.routes import connect
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import EngineUnavailable, MlenvError
from jupyter_mlenv.planning.model import StartRequest
from tests.support.docker import DOCKER_SOCKET, Relay
from tests.support.environments import BOX, Left, Named, Settings, by_hand, opened, start, watching
from tests.support.gates import gate
from tests.support.waiting import eventually


@dataclass
class Line:
    """The way to the engine, which can be cut and mended."""

    path: Path
    relay: Relay

    async def mend(self) -> None:
        self.relay = Relay(DOCKER_SOCKET)
        await self.relay.listen_unix(self.path)

    async def cut(self) -> None:
        await self.relay.cut()


@pytest.fixture
async def line(run_root: str) -> AsyncIterator[Line]:
    """Beside the run directories: the path has to be short."""
    made = Line(Path(f"{run_root}.sock"), Relay(DOCKER_SOCKET))
    await made.mend()
    yield made
    await made.cut()
    made.path.unlink(missing_ok=True)


@pytest.fixture
async def environments(settings: Settings, line: Line) -> AsyncIterator[Environments]:
    async with opened(settings(engine_url=f"unix://{line.path}")) as environments:
        yield environments


async def test_it_goes_and_comes_back_and_nothing_is_lost(
    environments: Environments, line: Line, named: Named, workspace: Path
) -> None:
    environment, _ = await start(environments, named("box", BOX), workspace)
    id = environment.id
    async with watching(environments) as watch:
        assert [e["id"] for e in watch.seen[0]["environments"]] == [id]
        await environments.service(id, "echo", "/")

        await line.cut()
        await watch.until(lambda c: c == {"type": "engine", "state": "disconnected"}, "the engine is away")
        for question in (environments.list(), environments.get(id), environments.engine.facts()):
            with pytest.raises(EngineUnavailable) as away:
                await question
            assert str(line.path) in away.value.message
            assert away.value.hint
        with pytest.raises(EngineUnavailable):
            await environments.start(StartRequest("host", str(workspace)))
        # Whoever is in the middle of something in it goes on: the way there does not lead through the engine.
        route = environments.cached_service(id, "echo", "/")
        assert route is not None
        (await connect(route)).close()

        known = len(watch.seen)
        await line.mend()
        await watch.until(lambda c: c == {"type": "engine", "state": "connected"}, "the engine is back", known)
        snapshot = await watch.until(lambda c: c["type"] == "snapshot", "all that is there", known)
        assert [(e["id"], e["state"]) for e in snapshot["environments"]] == [(id, "running")]
        assert [e.id for e in await environments.list()] == [id]
        (await connect(await environments.service(id, "echo", "/"))).close()


async def test_a_restarted_daemon_has_stopped_everything(
    environments: Environments, line: Line, named: Named, workspace: Path
) -> None:
    preset = named("box", BOX)
    environment, _ = await start(environments, preset, workspace)
    id = environment.id
    async with watching(environments) as watch:
        await environments.service(id, "echo", "/")
        await line.cut()
        await watch.until(lambda c: c == {"type": "engine", "state": "disconnected"}, "the engine is away")
        by_hand("kill", id)
        known = len(watch.seen)
        await line.mend()
        snapshot = await watch.until(lambda c: c["type"] == "snapshot", "all that is there", known)
        (shown,) = snapshot["environments"]
        assert (shown["id"], shown["state"]) == (id, "failed")
        assert environments.cached_service(id, "echo", "/") is None
        again, _ = await start(environments, preset, workspace)
        assert (again.container, again.state) == (environment.container, State.RUNNING)
        (await connect(await environments.service(id, "echo", "/"))).close()


async def test_a_server_that_starts_before_its_engine(settings: Settings, line: Line, workspace: Path) -> None:
    await line.cut()
    async with opened(settings(engine_url=f"unix://{line.path}")) as environments, watching(environments) as watch:
        assert watch.seen[0]["environments"] == []
        await watch.until(lambda c: c == {"type": "engine", "state": "disconnected"}, "no engine yet")
        presets, _ = await environments.presets(str(workspace))
        assert presets[0].name == "host"
        known = len(watch.seen)
        await line.mend()
        await watch.until(lambda c: c["type"] == "snapshot", "what is there", known)
        assert await environments.list() == []


async def test_it_goes_in_the_middle_of_a_build(
    environments: Environments, line: Line, named: Named, base_image: str, workspace: Path
) -> None:
    async with gate() as gate_:
        (Path(environments.settings.preset_paths[0]) / "Slow").write_text(f"FROM {base_image}\n{gate_.command}\n")
        preset = named("slow", '[image]\ndockerfile = "Slow"\n')
        _, job = await environments.start(StartRequest(preset, str(workspace)))
        await gate_.reached()
        await line.cut()
        with pytest.raises(EngineUnavailable):
            await job.wait()
        await gate_.left()
        gate_.open()
        await line.mend()
        await eventually(lambda: answers(environments), "the engine answers")
        assert (await start(environments, preset, workspace))[0].state is State.RUNNING


async def test_it_goes_while_the_container_is_made(
    environments: Environments, line: Line, named: Named, workspace: Path, left: Left
) -> None:
    """Nothing can be cleaned up then; the next start does."""
    preset = named("box", BOX)
    cuts: list[asyncio.Task[None]] = []

    def cut_once(job: object) -> None:
        if not cuts and job.current.message.startswith("Starting"):  # type: ignore[attr-defined]
            cuts.append(asyncio.create_task(line.cut()))

    environments.jobs.listen(cut_once)
    _, job = await environments.start(StartRequest(preset, str(workspace)))
    with pytest.raises(MlenvError):
        await job.wait()
    await cuts[0]
    await line.mend()
    await eventually(lambda: answers(environments), "the engine answers")
    environment, _ = await start(environments, preset, workspace)
    assert (await (await environments.agent(environment.id)).health())["version"]
    assert len(left()) == 2  # one container, one run directory


async def answers(environments: Environments) -> bool:
    try:
        await environments.engine.facts()
    except EngineUnavailable:
        return False
    return True
