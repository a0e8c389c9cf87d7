"""Nothing that a process remembers of environments grows with how many there ever were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sized
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.bounded_cache import BoundedCache
from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments import agents as module
from jupyter_mlenv.environments.jobs import FINISHED_JOBS_KEPT, Jobs
from jupyter_mlenv.errors import DiskFull
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.settings import Settings
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

IDS = 300
"""Several times what any list keeps."""

AT_ONCE = 20
IMAGE = "registry.test/small:1"


@pytest.fixture
def settings(person: Settings, presets: Path) -> Settings:
    (presets / "small.toml").write_text(f'[image]\nreference = "{IMAGE}"\n')
    return person


class FullEngine(FakeEngine):
    """Each container fails to start once, for lack of space."""

    def __init__(self) -> None:
        super().__init__(images=[IMAGE], agent=False)
        self.failed: set[str] = set()

    async def start(self, container: str) -> ContainerInfo:
        if container not in self.failed:
            self.failed.add(container)
            raise DiskFull("No space left on device.")
        return await super().start(container)


def holdings(value: Any, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """The size of everything that holds something, by where it is found from an object of the use cases on."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Sized) and not isinstance(value, (str, bytes, tuple)):
        yield path, len(value)
    ours = type(value).__module__.startswith(("jupyter_mlenv.environments", "jupyter_mlenv.workers"))
    for name, part in vars(value).items() if ours and hasattr(value, "__dict__") else ():
        yield from holdings(part, f"{path}.{name}", seen)


async def life(environments: Environments, engine: FullEngine, name: str, workspace: str) -> None:
    """One environment is made, fails to start again, is reached by a port, and goes."""
    request, preset = await environments._planner.chosen(StartRequest("small", workspace, name))
    plan = await environments._planner.plan(preset, request)
    run_directory.prepare(environments.settings.run_root, plan.container.labels[f"{LABEL}.run"])
    await engine.create(plan.container)
    container = plan.container.name
    box = next(box for box in engine.containers.values() if box.spec.name == container)
    box.info = replace(box.info, status="exited")
    job = (await environments.resume(plan.id))[1]
    with pytest.raises(DiskFull):
        await job.wait()
    await engine.start(box.info.id)
    await environments.service(plan.id, "8000", "/")
    environments._jupyter_versions.look(plan.id)
    await environments.remove(plan.id)


async def test_hundreds_of_environments_leave_nothing_behind(
    settings: Settings, workspace: Path, tmp_path: Path
) -> None:
    engine = FullEngine()
    environments = Environments(engine, settings, Jobs())
    try:
        async with aclosing(environments.subscribe("/")) as changes:  # type: ignore[type-var]
            await anext(changes)
            await life(environments, engine, "first", str(workspace))
            before = dict(holdings(environments))
            assert before["._agents._known"] == before["._services._routes"] == 0, "it looks where something was held"
            for first in range(0, IDS, AT_ONCE):
                names = [f"env-{number}" for number in range(first, first + AT_ONCE)]
                await asyncio.gather(*(life(environments, engine, name, str(workspace)) for name in names))
                await asyncio.wait_for(anext(changes), 10)
            await eventually(lambda: not environments._jupyter_versions._tasks, "nobody is asked any more")
            after = dict(holdings(environments))
        assert after.pop(".jobs._jobs") == after.pop(".jobs._finished") == FINISHED_JOBS_KEPT
        assert after.pop("._changes._messages", 0) <= 64
        grown = {path: (before.get(path, 0), size) for path, size in after.items() if size > before.get(path, 0)}
        assert grown == {}
        assert os.listdir(settings.run_root) == []
    finally:
        await environments.close()
        await engine.close()


async def test_where_nobody_hears_that_they_are_gone_what_is_remembered_is_bounded(
    settings: Settings, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_AGENTS", 5)
    monkeypatch.setattr(Environments, "_forget", lambda self, id: None)
    engine = FullEngine()
    environments = Environments(engine, settings, Jobs())
    monkeypatch.setattr(environments._changes, "ensure_running", lambda: None)
    environments._services._routes = BoundedCache(5)
    try:
        for number in range(20):
            await life(environments, engine, f"env-{number}", str(workspace))
        assert len(environments._agents._known) == 5
        assert len(environments._services._routes) == 5
    finally:
        await environments.close()
        await engine.close()
