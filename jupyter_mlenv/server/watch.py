"""The watch WebSocket: all changes, and the logs of the jobs that the client follows.

Nothing piles up for a slow client: each stream waits until its last message is on the wire, changes that are not yet
sent are replaced by newer ones of the same subject, and log lines wait in the job's ring.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..environments.change_feed import Message
from ..environments.job import Job
from ..errors import MlenvError, RequestInvalid
from . import validation
from .base import ErrorsAsJson

if TYPE_CHECKING:
    from ..environments import Environments

JOB_INTERVAL_SECONDS = 0.1
"""Seconds between two messages about one running job: more than the eye sees, less than a build can produce."""

LOG_INTERVAL_SECONDS = 0.1
"""Seconds between two messages with log lines of one job."""

MAX_LOG_CHARS = 256 * 1024
"""Characters of log lines in one message: clients refuse huge messages, and changes should not wait behind one."""

MAX_FOLLOWED_LOGS = 32
"""Job logs that one client follows at once."""

MAX_COMMAND_BYTES = 4096
"""Bytes of a client's message."""

CLOSE_GOING_AWAY = 1001
CLOSE_MESSAGE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011
"""Close codes (RFC 6455 7.4.1)."""


class WatchHandler(WebSocketMixin, ErrorsAsJson, WebSocketHandler, JupyterHandler):
    """One client that watches."""

    def initialize(self) -> None:
        self.changes: asyncio.Task[None] | None = None
        self.followed: dict[str, asyncio.Task[None]] = {}

    @property
    def environments(self) -> Environments:
        return cast("Environments", self.settings["mlenv"])

    @property
    def watchers(self) -> set[WatchHandler]:
        """The open ones of this server."""
        return cast("set[WatchHandler]", self.settings.setdefault("mlenv_watchers", set()))

    @ws_authenticated
    @authorized
    async def get(self) -> None:
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise RequestInvalid("This address speaks WebSocket only.", hint="Connect to it with ws:// or wss://.")
        if not self.check_origin():
            raise web.HTTPError(403, "A page of another web site may not watch this server")
        await super().get()

    def open(self) -> None:
        super().open()
        self.watchers.add(self)
        self.changes = self.spawn(self.send_changes())

    def on_message(self, message: str | bytes) -> None:
        if len(message) > MAX_COMMAND_BYTES:
            self.close(CLOSE_MESSAGE_TOO_BIG, f"A message may have {MAX_COMMAND_BYTES} bytes.")
            return
        try:
            self.run(validation.json_object(message.encode() if isinstance(message, str) else message))
        except MlenvError as error:
            self.spawn(self.send({"type": "error", "error": error.to_json()}))

    def on_close(self) -> None:
        self.watchers.discard(self)
        for task in (self.changes, *self.followed.values()):
            if task is not None:
                task.cancel()

    def run(self, message: dict[str, Any]) -> None:
        """Follow a log, or no longer. Raises RequestInvalid, JobNotFound."""
        command = validation.watch_command(message)
        running = self.followed.pop(command.job, None)
        if running is not None:
            running.cancel()
        if command.follow:
            if len(self.followed) >= MAX_FOLLOWED_LOGS:
                raise RequestInvalid(
                    f"One client follows {MAX_FOLLOWED_LOGS} logs at most.", hint="Unfollow one first."
                )
            job = self.environments.jobs.get(command.job)
            task = self.followed[job.id] = self.spawn(follow(job, command.since, self.send))
            task.add_done_callback(lambda done: self.followed.get(job.id) is done and self.followed.pop(job.id))

    async def send_changes(self) -> None:
        """Until the client goes away."""
        async with aclosing(paced(self.environments.subscribe(self.base_url))) as changes:
            async for change in changes:
                await self.send(change)

    async def send(self, message: dict[str, Any]) -> None:
        """Returns when the message is on the wire. Raises WebSocketClosedError."""
        await self.write_message(message.text if isinstance(message, Message) else json.dumps(message))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure closes the connection: the client then connects anew and does not wait in vain."""

        async def guarded() -> None:
            with suppress(WebSocketClosedError):
                await work

        task: asyncio.Task[None] = asyncio.create_task(guarded(), name="mlenv-watch")
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("The watch failed.", exc_info=error)
            self.close(CLOSE_INTERNAL_ERROR, "The server failed; its log says more.")


async def follow(job: Job, since: int, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Send the job's log from line `since` on, as it grows, until the job has ended."""
    async for _ in job.follow(job.lines):
        while True:
            first, lines = job.since(since)
            if not lines:
                break
            batch = lines[: _fitting(lines)]
            since = first + len(batch)
            await send(_log_message(job, first, batch))
            if len(batch) == len(lines):
                await asyncio.sleep(LOG_INTERVAL_SECONDS)


_latest: WeakKeyDictionary[Job, tuple[int, int, Message]] = WeakKeyDictionary()


def _log_message(job: Job, first: int, lines: Sequence[str]) -> Message:
    """Lines of a log; those who follow it at the same pace share one message and its text."""
    known = _latest.get(job)
    if known is None or known[:2] != (first, len(lines)):
        known = first, len(lines), Message(type="log", job=job.id, **{"from": first}, lines=lines)
    _latest[job] = known
    return known[2]


def _fitting(lines: Sequence[str]) -> int:
    """Return the number of lines that fit into one message, at least one."""
    total = 0
    for number, line in enumerate(lines):
        total += len(line)
        if total > MAX_LOG_CHARS:
            return max(1, number)
    return len(lines)


async def paced(
    changes: AsyncIterator[dict[str, Any]], interval: float = JOB_INTERVAL_SECONDS
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the changes, but of one running job only the newest each `interval` seconds; all others pass at once."""
    loop = asyncio.get_running_loop()
    held: dict[str, dict[str, Any]] = {}
    due: dict[str, float] = {}
    coming = asyncio.ensure_future(anext(changes))
    try:
        while True:
            wait = min((due[id] for id in held), default=None)
            await asyncio.wait({coming}, timeout=None if wait is None else max(0.0, wait - loop.time()))
            if coming.done():
                change = coming.result()
                coming = asyncio.ensure_future(anext(changes))
                if change["type"] == "snapshot":
                    held.clear()
                id = change["job"]["id"] if change["type"] == "job" else ""
                if id and change["job"]["state"] == "running":
                    due.setdefault(id, 0.0)
                    held[id] = change
                else:
                    held.pop(id, None)
                    due.pop(id, None)
                    yield change
            for id in [id for id in held if due[id] <= loop.time()]:
                due[id] = loop.time() + interval
                yield held.pop(id)
    except StopAsyncIteration:
        return
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()  # it may have given its last change already, and then no cancel reaches it
