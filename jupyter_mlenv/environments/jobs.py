"""The jobs of a process: one at most works on an environment, and others join it or are refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ..errors import EnvironmentBusy, JobNotFound
from .job import Job, JobKind, JobState
from .model import Environment

FINISHED_JOBS_KEPT = 50
"""Finished jobs kept, so that a reloaded page can still read why one failed."""


_DOING = {
    JobKind.START: "being started",
    JobKind.RESTART: "being restarted",
    JobKind.RECREATE: "being made anew",
}


class Jobs:
    """The jobs of one process; at most one runs per environment."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._finished: deque[str] = deque()  # their ids, in the order of their ends
        self._listeners: set[Callable[[Job], None]] = set()

    async def start(
        self,
        kind: JobKind,
        environment: str,
        work: Callable[[Job], Awaitable[Environment]],
        *,
        plan_hash: str = "",
    ) -> Job:
        """Run `work(job)`, unless a job runs for this environment already.

        That one is returned if what it ends with is what is asked for, see `_serves`. One that was cancelled is waited
        for. Raises EnvironmentBusy for all others.
        """
        while (running := self.running(environment)) is not None:
            if running.cancelling:
                await running.ended()
            elif _serves(running, kind, plan_hash):
                return running
            else:
                raise _busy(running, kind)
        job = Job(kind, environment, self._changed, plan_hash=plan_hash)
        self._jobs[job.id] = job
        job.run(work)
        self._changed(job)
        return job

    def running(self, environment: str) -> Job | None:
        """The job that works on this environment now."""
        return next((j for j in self.all_running() if j.environment == environment), None)

    def get(self, id: str) -> Job:
        """Raises JobNotFound."""
        if id not in self._jobs:
            raise JobNotFound(f"There is no job {id}.", hint="Jobs end with the server that ran them.")
        return self._jobs[id]

    def all(self) -> list[Job]:
        """Oldest first."""
        return list(self._jobs.values())

    def all_running(self) -> list[Job]:
        """Return those that have not ended, oldest first."""
        return [job for job in self._jobs.values() if job.state is JobState.RUNNING]

    def listen(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """Call `listener(job)` on every change; returns what takes it back."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def close(self) -> None:
        """Cancel what still runs and wait for it to clean up."""
        running = self.all_running()
        for job in running:
            job.cancel()
        await asyncio.gather(*(job.ended() for job in running))

    def _changed(self, job: Job) -> None:
        if job.state is not JobState.RUNNING and job.id in self._jobs and job.id not in self._finished:
            self._finished.append(job.id)
            while len(self._finished) > FINISHED_JOBS_KEPT:
                del self._jobs[self._finished.popleft()]
        for listener in list(self._listeners):
            listener(job)


def _serves(running: Job, kind: JobKind, plan_hash: str) -> bool:
    """Return whether the end of a running job is what another one is asked for.

    All end with an environment that runs, which is all that a start wants. A restart wants another one to end what runs
    in there, which a start does not do. What is made anew is made by one plan.
    """
    if kind is JobKind.START:
        return True
    return running.kind is kind and running.plan_hash == plan_hash


def _busy(running: Job, kind: JobKind) -> EnvironmentBusy:
    doing, asked = _DOING[running.kind], _DOING[kind].removeprefix("being ")
    if running.kind is kind:
        doing, asked = f"{doing} with other options", f"{asked} with these"
    return EnvironmentBusy(
        f"The environment {running.environment} is {doing} just now, so it cannot be {asked}.",
        hint="Wait until that has ended, or cancel it first.",
        details={"environment": running.environment, "job": running.id},
    )
