"""The one stream of changes per process: the engine's events and the jobs, fanned out to whoever watches."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from ..bounded_cache import BoundedCache
from ..container_layout import LABEL
from ..engines.base import Engine, EngineEvent
from ..errors import MlenvError
from .job import Job
from .jobs import Jobs
from .model import Environment

LOG = logging.getLogger("jupyter_mlenv")

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 30.0
"""The time until the engine's stream is opened again after a failure of ours; doubled each time."""

MESSAGES_KEPT = 64
"""Subjects whose newest change is kept as text, for watchers that have not read it yet."""

MAX_UNREAD = 256
"""Subjects that a watcher may be behind; one that is further behind gets a snapshot instead."""


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


class Message(dict[str, Any]):
    """A change as a JSON object, whose text is made once for all who watch."""

    @cached_property
    def text(self) -> str:
        return json.dumps(self)


class _Watcher:
    """The changes that one watcher has not read yet: the newest of each subject, `MAX_UNREAD` at most."""

    def __init__(self) -> None:
        self._unread: dict[tuple[str, str], Change] = {}
        self._behind = False
        self._wake = asyncio.Event()

    def put(self, change: Change) -> None:
        self._unread.pop(change.key, None)
        self._unread[change.key] = change
        if len(self._unread) > MAX_UNREAD:  # a snapshot has all but the news of these subjects
            self._unread = {key: news for key, news in self._unread.items() if key[0] in ("engine", "kernels")}
            self._behind = True
        self._wake.set()

    async def take(self) -> Change | None:
        """The next change; `None` if some were left out, so that everything has to be told."""
        while not self._unread and not self._behind:
            self._wake.clear()
            await self._wake.wait()
        if self._behind:
            self._behind = False
            return None
        return self._unread.pop(next(iter(self._unread)))


class Changes:
    """Fans out changes. The engine's stream is opened by the first watcher and stays open until `close`.

    `snapshot` asks the engine for everything, `refresh` for one environment; `invalidate` is told every event first, so
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
        invalidate: Callable[[EngineEvent], None],
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._snapshot = snapshot
        self._refresh = refresh
        self._invalidate = invalidate
        self._watchers: set[_Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._state = ""
        self._closed = False
        self._delay = FIRST_RETRY_SECONDS
        self._messages: BoundedCache[tuple[str, str], tuple[Change, str, Message]] = BoundedCache(MESSAGES_KEPT)
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
            change: Change | None = None
            while True:
                if change is not None:
                    yield self._message(change, base_url)
                else:
                    for everything in await self._everything():
                        yield everything.to_json(base_url)
                change = await watcher.take()
        finally:
            self._watchers.discard(watcher)

    async def _everything(self) -> Sequence[Change]:
        try:
            return [await self._snapshot()]
        except MlenvError:
            return [Snapshot((), ()), EngineChanged("disconnected")]

    def _message(self, change: Change, base_url: str) -> Message:
        """The change as a message, one object for all who watch."""
        told = self._messages.get(change.key)
        if told is None or told[0] is not change or told[1] != base_url:
            told = change, base_url, Message(change.to_json(base_url))
            self._messages.put(change.key, told)
        return told[2]

    def ensure_running(self) -> None:
        """Follow the engine's events from now on."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._follow(), name="mlenv-engine-events")
            self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop following. Never raises: whoever closes has more to close."""
        self._closed = True
        self._unlisten()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Without the stream nobody hears of anything any more, so it begins again, whatever ended it."""
        if task.cancelled() or self._closed:
            return
        LOG.error("The stream of the engine's changes ended; it begins again.", exc_info=task.exception())
        self._delay = min(2 * self._delay, LAST_RETRY_SECONDS)
        task.get_loop().call_later(self._delay, self._again)

    def _again(self) -> None:
        self._task = None
        self.ensure_running()

    async def _follow(self) -> None:
        async with aclosing(cast("AsyncGenerator[EngineEvent]", self._engine.events())) as events:
            async for event in events:
                try:
                    await self._apply(event)
                except Exception:  # one odd container, or a bug of ours about it, must not silence all others
                    LOG.exception("The engine's change %s of %s was not understood.", event.kind, event.environment)
                else:
                    self._delay = FIRST_RETRY_SECONDS

    async def _apply(self, event: EngineEvent) -> None:
        if event.kind in ("connected", "disconnected"):
            self._invalidate(event)
            await self._engine_changed(event.kind)
        elif event.kind == "image":
            for listener in list(self._image_listeners):
                listener()
        elif event.environment and event.labels.get(f"{LABEL}.owner") == self._owner:
            self._invalidate(event)
            # An engine that went away between the event and the question says so by its next event.
            with suppress(MlenvError):
                self.publish(await self._refresh(event.environment))

    async def _engine_changed(self, state: str) -> None:
        before, self._state = self._state, state
        if not before and state == "connected":
            return
        if before != state:
            self.publish(EngineChanged(state))
        if state == "connected":
            with suppress(MlenvError):
                self.publish(await self._snapshot())
