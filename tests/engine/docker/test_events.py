"""One stream of changes that survives the engine's restart, and ends with its subscriber."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.base import EngineEvent
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.docker.containers import pack
from jupyter_mlenv.engines.model import ContainerSpec, FileEntry
from tests.support.docker import DOCKER_SOCKET, Relay, cleaning, make_spec
from tests.support.waiting import eventually


@pytest.fixture
async def engine(owner: str) -> AsyncIterator[DockerEngine]:
    async with cleaning(DockerEngine(), owner) as engine:
        yield engine


class Subscriber:
    """Collects events; those of other sessions on this engine are left out."""

    def __init__(self, engine: DockerEngine) -> None:
        self.events: list[EngineEvent] = []
        self.task = asyncio.create_task(self._collect(engine))

    async def _collect(self, engine: DockerEngine) -> None:
        async for event in engine.events():
            self.events.append(event)

    def kinds(self, environment: str) -> list[str]:
        return [event.kind for event in self.events if event.environment == environment]

    def states(self) -> list[str]:
        return [event.kind for event in self.events if event.kind in ("connected", "disconnected")]

    async def reached(self, *states: str) -> None:
        await eventually(lambda: self.states() == list(states), f"the subscriber saw {states}")


async def test_a_containers_life_is_told(engine: DockerEngine, owner: str, base_image: str) -> None:
    subscriber = Subscriber(engine)
    await subscriber.reached("connected")
    made = await engine.create(make_spec(owner, base_image, "life", ("sh", "-c", "exit 5")))
    await engine.start(made.id)
    await eventually(lambda: "die" in subscriber.kinds("life"), "its end is told")
    await engine.remove(made.id)
    await eventually(lambda: "destroy" in subscriber.kinds("life"), "its removal is told")
    assert subscriber.kinds("life") == ["create", "start", "die", "destroy"]
    died = next(event for event in subscriber.events if event.kind == "die" and event.environment == "life")
    assert died.exit_code == 5
    assert died.container == made.id
    assert died.labels[f"{LABEL}.owner"] == owner
    subscriber.task.cancel()


async def test_only_our_containers_and_all_images_are_told(engine: DockerEngine, owner: str, base_image: str) -> None:
    subscriber = Subscriber(engine)
    await subscriber.reached("connected")
    mine = {f"{LABEL}.owner": owner}
    stranger = ContainerSpec(name=f"{owner}-stranger", image=base_image, command=("true",), labels=mine)
    await engine.remove((await engine.create(stranger)).id)
    before = sum(event.kind == "image" for event in subscriber.events)
    await engine.import_image(f"mlenv-{owner}/told:1", pack([FileEntry("/f", b"x")]), mine)
    await eventually(lambda: sum(e.kind == "image" for e in subscriber.events) > before, "the image is told")
    assert not [event for event in subscriber.events if event.labels.get("name") == stranger.name]
    subscriber.task.cancel()


async def test_nothing_is_missed_while_the_engine_is_away(
    engine: DockerEngine, owner: str, base_image: str, tmp_path: Path
) -> None:
    relay = Relay(DOCKER_SOCKET)
    path = tmp_path / "engine.sock"
    watched = DockerEngine(await relay.listen_unix(path))
    subscriber = Subscriber(watched)
    try:
        await subscriber.reached("connected")
        first = await engine.create(make_spec(owner, base_image, "before", ("true",)))
        await eventually(lambda: subscriber.kinds("before") == ["create"], "the stream works")
        await relay.cut()
        path.unlink(missing_ok=True)
        await subscriber.reached("connected", "disconnected")
        await engine.create(make_spec(owner, base_image, "meanwhile", ("true",)))
        await relay.listen_unix(path)
        await subscriber.reached("connected", "disconnected", "connected")
        await engine.remove(first.id)
        await eventually(lambda: subscriber.kinds("before") == ["create", "destroy"], "the stream works again")
        assert subscriber.kinds("meanwhile") == ["create"]
        assert [c.name for c in await watched.list({f"{LABEL}.id": "meanwhile", f"{LABEL}.owner": owner})]
    finally:
        await watched.close()
        await relay.cut()
    await asyncio.wait([subscriber.task], timeout=120)
    assert subscriber.task.done()
    assert subscriber.task.exception() is None


async def test_an_engine_that_comes_later_is_found(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    late = DockerEngine(f"unix://{path}")
    relay = Relay(DOCKER_SOCKET)
    subscriber = Subscriber(late)
    try:
        await subscriber.reached("disconnected")
        await relay.listen_unix(path)
        await subscriber.reached("disconnected", "connected")
    finally:
        await late.close()
        await relay.cut()
    await asyncio.wait([subscriber.task], timeout=120)
    assert subscriber.task.done()
    await eventually(
        lambda: not any("mlenv-docker" in thread.name for thread in threading.enumerate()), "no thread is left"
    )
