"""The one stream of changes per process: the engine's events and the jobs, fanned out to whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .engines.base import Engine, EngineEvent
from .errors import MlenvError
from .jobs import Job, Jobs
from .model import LABEL, Environment


@dataclass(frozen=True)
class Snapshot:
    """All that is there; what a watcher gets first, and again after the engine was away."""

    environments: Sequence[Environment]
    jobs: Sequence[Job]
    key = ("snapshot", "")

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {
            "type": "snapshot",
            "environments": [e.to_json(base_url) for e in self.environments],
            "jobs": [j.to_json() for j in self.jobs],
        }


@dataclass(frozen=True)
class EnvironmentChanged:
    environment: Environment

    @property
    def key(self) -> tuple[str, str]:
        return ("environment", self.environment.id)

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {"type": "environment", "environment": self.environment.to_json(base_url)}


@dataclass(frozen=True)
class EnvironmentRemoved:
    id: str

    @property
    def key(self) -> tuple[str, str]:
        return ("environment", self.id)

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {"type": "removed", "id": self.id}


@dataclass(frozen=True)
class JobChanged:
    job: Job

    @property
    def key(self) -> tuple[str, str]:
        return ("job", self.job.id)

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {"type": "job", "job": self.job.to_json()}


@dataclass(frozen=True)
class EngineChanged:
    """`connected` or `disconnected`."""

    state: str
    key = ("engine", "")

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {"type": "engine", "state": self.state}


@dataclass(frozen=True)
class KernelsChanged:
    """Kernelspecs have come or gone: whoever shows a kernel menu reads them again."""

    key = ("kernels", "")

    def to_json(self, base_url: str) -> dict[str, Any]:
        return {"type": "kernels"}


Change = Snapshot | EnvironmentChanged | EnvironmentRemoved | JobChanged | EngineChanged | KernelsChanged


class _Watcher:
    """What one watcher has not read yet: the newest change per subject, so a slow one never grows."""

    def __init__(self) -> None:
        self._news: dict[tuple[str, str], Change] = {}
        self._wake = asyncio.Event()

    def put(self, change: Change) -> None:
        self._news.pop(change.key, None)
        self._news[change.key] = change
        self._wake.set()

    async def take(self) -> Change:
        while not self._news:
            self._wake.clear()
            await self._wake.wait()
        return self._news.pop(next(iter(self._news)))


class Changes:
    """Fans out changes. The engine's stream is opened by the first watcher and stays open until `close`.

    `snapshot` asks the engine for everything, `refresh` for one environment; `seen` is told every event first, so
    that nothing remembered outlives what it was about.
    """

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        owner: str,
        *,
        snapshot: Callable[[], Awaitable[Snapshot]],
        refresh: Callable[[str], Awaitable[EnvironmentChanged | EnvironmentRemoved]],
        seen: Callable[[EngineEvent], None],
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._snapshot = snapshot
        self._refresh = refresh
        self._seen = seen
        self._watchers: set[_Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._state = ""
        self._image_listeners: set[Callable[[], None]] = set()
        self._unlisten = jobs.listen(lambda job: self.publish(JobChanged(job)))

    def publish(self, change: Change) -> None:
        """Tell every watcher; a newer change of the same subject replaces one that was not read yet."""
        for watcher in self._watchers:
            watcher.put(change)

    def on_images(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` when an image has come or gone; returns what takes it back."""
        self._image_listeners.add(listener)
        return lambda: self._image_listeners.discard(listener)

    async def subscribe(self, base_url: str) -> AsyncIterator[dict[str, Any]]:
        """A snapshot, then changes, until the consumer stops. With no engine the snapshot is of jobs alone."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            self.ensure_running()
            try:
                yield (await self._snapshot()).to_json(base_url)
            except MlenvError:
                yield Snapshot((), ()).to_json(base_url)
                yield EngineChanged("disconnected").to_json(base_url)
            while True:
                yield (await watcher.take()).to_json(base_url)
        finally:
            self._watchers.discard(watcher)

    def ensure_running(self) -> None:
        """Follow the engine's events from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="mlenv-engine-events")

    async def close(self) -> None:
        """Stop following."""
        self._unlisten()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        async for event in self._engine.events():
            if event.kind in ("connected", "disconnected"):
                self._seen(event)
                await self._engine_changed(event.kind)
            elif event.kind == "image":
                for listener in list(self._image_listeners):
                    listener()
            elif event.environment and event.labels.get(f"{LABEL}.owner") == self._owner:
                self._seen(event)
                # An engine that went away between the event and the question says so by its next event.
                with suppress(MlenvError):
                    self.publish(await self._refresh(event.environment))

    async def _engine_changed(self, state: str) -> None:
        first, self._state = self._state == "", state
        if first and state == "connected":
            return
        self.publish(EngineChanged(state))
        if state == "connected":
            with suppress(MlenvError):
                self.publish(await self._snapshot())
