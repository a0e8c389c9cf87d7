"""The stream of changes, whatever the engine and its containers say."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.base import ContainerInfo, EngineEvent
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.docker import engine as docker_engine
from jupyter_mlenv.environments import change_feed as module
from jupyter_mlenv.environments import from_container
from jupyter_mlenv.environments.change_feed import (
    Changes,
    EnvironmentChanged,
    EnvironmentRemoved,
    KernelsChanged,
    Snapshot,
)
from jupyter_mlenv.environments.jobs import Jobs
from tests.support import fakedocker
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

OWNER = "me"


class OddEngine(FakeEngine):
    """Its stream gives what a test puts in, and fails where that is an error."""

    def __init__(self) -> None:
        super().__init__(agent=False)
        self.queue: asyncio.Queue[EngineEvent | Exception] = asyncio.Queue()
        self.opened = 0

    async def events(self) -> AsyncIterator[EngineEvent]:
        self.opened += 1
        yield EngineEvent("connected")
        while True:
            event = await self.queue.get()
            if isinstance(event, Exception):
                raise event
            yield event


def about(id: str) -> EngineEvent:
    return EngineEvent("start", environment=id, labels={f"{LABEL}.owner": OWNER})


@pytest.fixture
async def engine() -> AsyncIterator[OddEngine]:
    engine = OddEngine()
    yield engine
    await engine.close()


@pytest.fixture
async def changes(engine: OddEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Changes]:
    """An environment named `odd` cannot be read."""
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.01)

    async def refresh(id: str) -> EnvironmentChanged | EnvironmentRemoved:
        if id == "odd":
            raise TypeError("'NoneType' object is not iterable")
        return EnvironmentRemoved(id)

    async def snapshot() -> Snapshot:
        return Snapshot((), ())

    made = Changes(engine, Jobs(), OWNER, snapshot=snapshot, refresh=refresh, invalidate=lambda event: None)
    yield made
    await made.close()


class Watcher:
    def __init__(self, changes: Changes) -> None:
        self.told: list[dict[str, Any]] = []
        self.task = asyncio.ensure_future(self._watch(changes))

    async def _watch(self, changes: Changes) -> None:
        async for change in changes.subscribe("/"):
            self.told.append(change)

    async def hears(self, id: str) -> None:
        await eventually(lambda: {"type": "removed", "id": id} in self.told, f"the watcher hears of {id}")


async def test_one_odd_container_silences_no_other(
    changes: Changes, engine: OddEngine, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher(changes)
    with caplog.at_level(logging.ERROR, "jupyter_mlenv"):
        engine.queue.put_nowait(about("odd"))
        engine.queue.put_nowait(about("other"))
        await watcher.hears("other")
    assert "of odd was not understood" in caplog.text
    assert engine.opened == 1
    watcher.task.cancel()


async def test_a_stream_that_fails_begins_again_and_says_so(
    changes: Changes, engine: OddEngine, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher(changes)
    with caplog.at_level(logging.ERROR, "jupyter_mlenv"):
        engine.queue.put_nowait(ZeroDivisionError("a bug"))
        await eventually(lambda: engine.opened == 2, "it is opened again")
        engine.queue.put_nowait(about("other"))
        await watcher.hears("other")
    assert "begins again" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert {"type": "snapshot", "environments": [], "jobs": []} in watcher.told[1:], "what was missed is told"
    watcher.task.cancel()


async def test_a_state_that_only_another_engine_has_silences_nobody(
    engine: OddEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Podman says of a container that it has not made yet."""

    async def refresh(id: str) -> EnvironmentChanged | EnvironmentRemoved:
        status = "configured" if id == "odd" else "running"
        plan = json.dumps({"id": id, "container": {}})
        labels = {f"{LABEL}.id": id, f"{LABEL}.plan": plan if id != "garbage" else "\x1b[2J{" * 9}
        return EnvironmentChanged(from_container.environment(ContainerInfo(id, id, status, labels)))

    async def snapshot() -> Snapshot:
        return Snapshot((), ())

    changes = Changes(engine, Jobs(), OWNER, snapshot=snapshot, refresh=refresh, invalidate=lambda event: None)
    watcher = Watcher(changes)
    for id in ("odd", "garbage", "other"):
        engine.queue.put_nowait(about(id))
    await eventually(lambda: len(watcher.told) == 4, "the watcher hears of all three")
    told = {change["environment"]["id"]: change["environment"] for change in watcher.told[1:]}
    assert {id: environment["state"] for id, environment in told.items()} == {
        "odd": "stopped",
        "garbage": "failed",
        "other": "running",
    }
    assert "configured" in told["odd"]["warnings"][0]
    assert engine.opened == 1
    watcher.task.cancel()
    await changes.close()


async def test_a_watcher_far_behind_gets_a_snapshot_and_holds_no_more(changes: Changes, engine: OddEngine) -> None:
    """As one of a machine that sleeps while a thousand environments come and go."""
    reader = changes.subscribe("/")
    assert (await anext(reader))["type"] == "snapshot"
    changes.publish(KernelsChanged())
    for number in range(1000):
        changes.publish(EnvironmentRemoved(f"env-{number}"))
    (watcher,) = changes._watchers
    assert len(watcher._unread) <= module.MAX_UNREAD
    told = [await anext(reader) for _ in range(3)]
    assert told[0]["type"] == "snapshot", "first of all: what follows is newer"
    assert told[1] == {"type": "kernels"}, "a snapshot does not have it"
    changes.publish(EnvironmentRemoved("last"))
    while told[-1] != {"type": "removed", "id": "last"}:
        told.append(await asyncio.wait_for(anext(reader), 10))
    assert len(told) < module.MAX_UNREAD + 4
    assert len(changes._messages) <= module.MESSAGES_KEPT
    await reader.aclose()  # type: ignore[attr-defined]
    assert not changes._watchers


async def test_closing_after_a_failure_raises_nothing_and_ends_it(changes: Changes, engine: OddEngine) -> None:
    watcher = Watcher(changes)
    engine.queue.put_nowait(ZeroDivisionError("a bug"))
    await eventually(lambda: engine.opened == 2, "it is opened again")
    engine.queue.put_nowait(ZeroDivisionError("another"))
    await eventually(engine.queue.empty, "it has failed again")
    await changes.close()
    opened = engine.opened
    changes.ensure_running()
    await asyncio.sleep(0)
    assert engine.opened == opened
    watcher.task.cancel()


async def test_a_change_is_made_into_text_once_for_all_who_watch(changes: Changes, engine: OddEngine) -> None:
    watchers = [Watcher(changes) for _ in range(3)]
    await eventually(lambda: all(watcher.told for watcher in watchers), "all have their snapshots")
    engine.queue.put_nowait(about("other"))
    for watcher in watchers:
        await watcher.hears("other")
    assert len({id(watcher.told[-1]) for watcher in watchers}) == 1
    assert json.loads(watchers[0].told[-1].text) == {"type": "removed", "id": "other"}
    for watcher in watchers:
        watcher.task.cancel()


def event(id: str, moment: int) -> bytes:
    actor = {"ID": "c", "Attributes": {f"{LABEL}.id": id, f"{LABEL}.owner": OWNER}}
    return json.dumps({"Type": "container", "Action": "start", "Actor": actor, "timeNano": moment}).encode() + b"\n"


class Subscriber:
    def __init__(self, engine: DockerEngine) -> None:
        self.events: list[EngineEvent] = []
        self.task = asyncio.ensure_future(self._collect(engine))

    async def _collect(self, engine: DockerEngine) -> None:
        async for event in engine.events():
            self.events.append(event)

    def kinds(self) -> list[str]:
        return [e.environment or e.kind for e in self.events]


async def test_events_in_no_known_form_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        now = 10**18 * 3
        yield b"no json\n[1]\n" + b"[" * 200_000 + b"\n"
        yield b'{"Type": "container", "Actor": 7, "timeNano": "x"}\n{"Type": "container", "Actor": null}\n'
        yield event("first", now)[:30]
        yield event("first", now)[30:] + event("second", now - 1)
        await asyncio.Event().wait()

    async with fakedocker.fake_docker(tmp_path) as fake:
        fake.answers["GET /events"] = fakedocker.stream(pieces)
        engine = DockerEngine(fake.url)
        subscriber = Subscriber(engine)
        with caplog.at_level(logging.WARNING, "jupyter_mlenv"):
            await eventually(lambda: subscriber.kinds() == ["connected", "first", "second"], "the others are told")
        assert "no JSON" in caplog.text
        await engine.close()
        await asyncio.wait([subscriber.task])


@pytest.mark.parametrize(
    "answer",
    [fakedocker.body("500 Internal Server Error", b'{"message": "oops"}'), fakedocker.body("200 OK", b"garbage\n" * 9)],
    ids=["500", "garbage"],
)
async def test_a_stream_that_ends_at_once_is_tried_less_and_less_often_and_nobody_sees_it_flicker(
    tmp_path: Path, answer: fakedocker.Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_engine, "FIRST_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(docker_engine, "PROOF_SECONDS", 0.2)
    async with fakedocker.fake_docker(tmp_path) as fake:
        fake.answers["GET /events"] = answer
        engine = DockerEngine(fake.url)
        subscriber = Subscriber(engine)
        await eventually(lambda: fake.requests.count("GET /events") >= 5, "it is tried again")
        assert subscriber.kinds() in (["disconnected"], ["connected", "disconnected"])
        del fake.answers["GET /events"]
        await eventually(lambda: subscriber.kinds()[-1] == "connected", "one that stays is believed")
        await engine.close()
        await asyncio.wait([subscriber.task])
