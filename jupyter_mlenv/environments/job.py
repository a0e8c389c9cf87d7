"""One run of long work: its progress, its log, its end."""

from __future__ import annotations

import asyncio
import enum
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ..engines.model import Progress
from ..errors import JobCancelled, MlenvError
from .model import Environment

JOB_LOG_LINES = 2000
"""Log lines kept per job."""

NOTIFY_INTERVAL_SECONDS = 0.05
"""The time between two times that listeners hear of a running job; a build may print 100,000 lines in a second."""


class JobKind(str, enum.Enum):
    """The use case that a job carries out."""

    START = "start"  # also of one that is stopped
    RESTART = "restart"
    RECREATE = "recreate"  # what was there is removed first


class JobState(str, enum.Enum):
    """The state of a job."""

    RUNNING = "running"  # also while it cleans up after a cancel
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """One run of long work; made by `Jobs.start`, also the `Reporter` that the work reports to.

    `plan_hash` is the plan that a start makes; empty for one that takes the environment as it is. `lines` is the number
    of log lines ever written.
    """

    def __init__(self, kind: JobKind, environment: str, changed: Callable[[Job], None], *, plan_hash: str = "") -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.environment = environment
        self.plan_hash = plan_hash
        self.state = JobState.RUNNING
        self.cancelling = False
        self.current = Progress("queued")
        self.error: MlenvError | None = None
        self.lines = 0
        self.notes: list[str] = []
        self._began = time.monotonic()
        self._ended: float | None = None
        self._ring: deque[str] = deque(maxlen=JOB_LOG_LINES)
        self._changed = changed
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._told = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Environment] | None = None

    def progress(self, progress: Progress) -> None:
        """Tell where the work is now; an unchanged progress wakes nobody, and another phase is told at once."""
        if progress == self.current:
            return
        another = progress.phase != self.current.phase
        if another and self._later is not None:
            self._notify()  # how far the last phase came in the end
        self.current = progress
        if another:
            self._notify()
        else:
            self._soon()

    def log(self, line: str) -> None:
        """One line for the job's log."""
        self._ring.append(line)
        self.lines += 1
        self._soon()

    def note(self, sentence: str) -> None:
        """A sentence that a person is told when the work is done, also without a look at the log."""
        self.notes.append(sentence)
        self.log(f"note: {sentence}")

    def since(self, number: int) -> tuple[int, list[str]]:
        """The number of the first line returned, and the lines from `number` on that are still kept."""
        first = max(number, self.lines - len(self._ring))
        return first, list(self._ring)[len(self._ring) - (self.lines - first) :] if first < self.lines else []

    @property
    def elapsed(self) -> float:
        """Seconds since it began; of an ended job, how long it took. A reloaded page counts on from here."""
        return (self._ended or time.monotonic()) - self._began

    def cancel(self) -> None:
        """Ask the work to stop; cancelling a finished job is no error."""
        if self._task is not None and not self._task.done():
            self.cancelling = True
            self._task.cancel()

    async def wait(self) -> Environment:
        """The environment the work ended with. Raises what the work raised, `JobCancelled` after a cancel."""
        assert self._task is not None
        await self._over.wait()
        if self._task.cancelled():
            raise JobCancelled(f"The job for {self.environment} was cancelled.")
        return self._task.result()

    async def ended(self) -> None:
        """Return once the work and its cleaning up are over, however they went."""
        if self._task is not None:
            await self._over.wait()

    async def follow(self, since: int = 0) -> AsyncIterator[tuple[Progress, list[str]]]:
        """Progress and new log lines each time one of them changes, until the job has ended."""
        while True:
            ended = self.state is not JobState.RUNNING
            wake = self._wake
            first, lines = self.since(since)
            since = first + len(lines)
            yield self.current, lines
            if ended:
                return
            await wake.wait()

    def to_json(self) -> dict[str, Any]:
        """The job object of the REST API."""
        now = self.current
        return {
            "id": self.id,
            "kind": self.kind.value,
            "environment": self.environment,
            "state": self.state.value,
            "progress": {
                "phase": now.phase,
                "message": now.message,
                "current": now.current,
                "total": now.total,
                "unit": now.unit,
                "fraction": now.fraction,
            },
            "error": self.error.to_json() if self.error else None,
            "lines": self.lines,
            "notes": list(self.notes),
            "elapsed": round(self.elapsed, 3),
        }

    def run(self, work: Callable[[Job], Awaitable[Environment]]) -> None:
        """Start the work as a task of the running loop."""
        self._task = asyncio.create_task(_awaited(work, self), name=f"mlenv-job-{self.environment}")
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Environment]) -> None:
        """End the job, also one whose task was cancelled before its first step and never ran at all.

        An error that nobody waits for is kept on the job; asking the task for it keeps asyncio from reporting it again.
        """
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            self.error = JobCancelled(f"The job for {self.environment} was cancelled.")
            self.state = JobState.CANCELLED
        elif isinstance(error, MlenvError):
            self.error = error
            self.state = JobState.FAILED
        elif error is not None:
            # A bug of ours must still end the job where a person looks.
            self.error = MlenvError(
                f"Starting {self.environment} failed unexpectedly: {error!r}",
                hint="Please report this with the server's log.",
            )
            self.state = JobState.FAILED
        else:
            self.current = Progress("done")
            self.state = JobState.DONE
        self._ended = time.monotonic()
        self._over.set()
        self._notify()

    def _soon(self) -> None:
        """Tell everybody now, or at the end of the interval that the last time began: once for all that came in it."""
        if self._later is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._told + NOTIFY_INTERVAL_SECONDS - loop.time()
        if wait <= 0:
            self._notify()
        else:
            self._later = loop.call_later(wait, self._notify)

    def _notify(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._told = asyncio.get_running_loop().time()
        self._wake.set()
        self._wake = asyncio.Event()
        self._changed(self)


async def _awaited(work: Callable[[Job], Awaitable[Environment]], job: Job) -> Environment:
    return await work(job)
