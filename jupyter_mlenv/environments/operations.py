"""Start, restart, stop and remove: what changes an environment, as a job or under its lock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ..container_layout import LABEL
from ..engines.base import ContainerInfo, Engine
from ..engines.model import Progress
from ..errors import EnvironmentNotFound
from ..planning import label
from ..planning.model import Plan, StartRequest, container_name, environment_id
from ..presets.model import DockerfileImage
from ..treewalk import OutOfTime
from . import from_container
from .inventory import Inventory
from .job import Job, JobKind, JobState
from .jobs import Jobs
from .lifecycle import Lifecycle
from .model import Environment, State
from .planner import LOOK_SECONDS, Planner
from .turns import Told

MAX_STOP_SECONDS = 600
"""The longest time that a container has to end, whatever its label says."""

OTHER_OPTIONS = "It was made with other options than these, or by an older version. With --recreate it is made anew."
"""The warning of a start that found the environment as it was made before."""


@dataclass(frozen=True)
class Operations:
    """Changes of the environments of one owner; see `Environments` for what is raised.

    `serve(id, endpoint, base_url)` starts an endpoint, `forget(id)` drops what is remembered of a container that ends,
    `gone(id)` tells that what was planned will not be there.
    """

    engine: Engine
    owner: str
    jobs: Jobs
    planner: Planner
    inventory: Inventory
    lifecycle: Lifecycle
    serve: Callable[[str, str, str, Told], Awaitable[object]]
    forget: Callable[[str], None]
    gone: Callable[[str], None]

    async def start(self, request: StartRequest, base_url: str) -> tuple[Environment, Job]:
        """Start or reuse the environment of this request."""
        request, preset = await self.planner.chosen(request)
        id = environment_id(self.owner, request.workspace, preset.name, request.name)
        reused = isinstance(preset.image, DockerfileImage) and not request.recreate
        runs = reused and await self.inventory.is_running(id)
        try:
            plan = await self.planner.plan(preset, request, LOOK_SECONDS if runs else None)
        except OutOfTime:  # whether it is outdated is not worth reading all that its image is made of
            return await self.start_existing(JobKind.START, id, base_url, request.endpoint)

        async def work(job: Job) -> Environment:
            info = await self.lifecycle.ensure_running(plan, job, recreate=request.recreate)
            environment = await self._finish_start(info, request.endpoint, base_url, job)
            return _compared(environment, environment.plan_hash, plan)

        job = await self._run(JobKind.RECREATE if request.recreate else JobKind.START, plan.id, work, plan.hash)
        if job.state is JobState.RUNNING:
            self.inventory.planned.setdefault(plan.id, from_container.pending(plan, job.id))
        # A start that was under way already may have another plan.
        return _compared(await self._current_state(plan, job), job.plan_hash or plan.hash, plan), job

    async def start_existing(self, kind: JobKind, id: str, base_url: str, endpoint: str) -> tuple[Environment, Job]:
        """Start an environment that is there, which a restart stops first."""
        environment = await self.inventory.get(id)

        async def work(job: Job) -> Environment:
            async with self.lifecycle.held(id) as sure:
                info = await self._existing(environment, sure)
                if kind is JobKind.RESTART and info.status != "exited":
                    await self.lifecycle.require_startable(info)
                    job.progress(Progress("stop", "Stopping"))
                    await self._stop_container(id, info)
                    info = await self.inventory.inspect(id)
                info = await self.lifecycle.start_stopped(info, job)
            return await self._finish_start(info, endpoint, base_url, job)

        job = await self._run(kind, id, work)
        return from_container.with_job(environment, job.id), job

    async def stop(self, id: str) -> Environment:
        """Cancel what is under way, and stop it; what was only planned is given back as stopped."""
        planned = self.inventory.planned.get(id)
        cancelled = await self._cancel(id)
        async with self.lifecycle.held(id):
            try:
                info = await self.inventory.inspect(id)
            except EnvironmentNotFound:
                if cancelled and planned is not None:
                    return replace(planned, state=State.STOPPED, job="")
                raise
            await self._stop_container(id, info)
        return await self.inventory.get(id)

    async def remove(self, id: str) -> None:
        """Cancel what is under way, and remove it."""
        cancelled = await self._cancel(id)
        async with self.lifecycle.held(id):
            self.forget(id)
            try:
                await self.lifecycle.remove(await self.inventory.inspect(id))
            except EnvironmentNotFound:
                if not cancelled:
                    raise

    async def _existing(self, environment: Environment, sure: bool) -> ContainerInfo:
        """The container, which may have changed since the job was asked for. The lock is held."""
        anew = f"Start it anew: jupyter mlenv start {environment.preset}"
        try:
            await self.inventory.inspect(environment.id)
        except EnvironmentNotFound as error:
            raise EnvironmentNotFound(
                f"The environment {environment.id} was removed meanwhile.",
                hint=anew,
                details={"environment": environment.id},
            ) from error
        info = await self.lifecycle.find_container(container_name(environment.id), sure=sure)
        if info is None:
            raise EnvironmentNotFound(
                f"The environment {environment.id} was only half made: an earlier start of it was interrupted. What "
                "there was of it is removed now.",
                hint=anew,
            )
        from_container.require_guarded(info)
        return info

    async def _stop_container(self, id: str, info: ContainerInfo) -> None:
        self.forget(id)
        spec = label.from_label(info.labels.get(f"{LABEL}.plan", "")).container
        await self.engine.stop(info.id, min(spec.stop_timeout, MAX_STOP_SECONDS))

    async def _finish_start(self, info: ContainerInfo, endpoint: str, base_url: str, job: Job) -> Environment:
        environment = from_container.environment(info)
        if endpoint:
            job.progress(Progress("service", f"Starting {endpoint}"))

            def queued(before: int) -> None:
                job.progress(Progress("service", f"{endpoint} waits for its turn; before it: {before}"))

            await self.serve(environment.id, endpoint, base_url, queued)
        (environment,) = await self.inventory.with_outdated([environment])
        return environment

    async def _run(
        self, kind: JobKind, id: str, work: Callable[[Job], Awaitable[Environment]], plan_hash: str = ""
    ) -> Job:
        job = await self.jobs.start(kind, id, work, plan_hash=plan_hash)

        def changed(other: Job) -> None:
            if other is job and job.state is not JobState.RUNNING:
                unlisten()
                if self.inventory.planned.pop(id, None) is not None and job.state is not JobState.DONE:
                    self.gone(id)

        unlisten = self.jobs.listen(changed)
        return job

    async def _cancel(self, id: str) -> bool:
        """Cancel the job that works on it, and wait for its end; whether there was one."""
        job = self.jobs.running(id)
        if job is None:
            return False
        job.cancel()
        await job.ended()
        return True

    async def _current_state(self, plan: Plan, job: Job) -> Environment:
        try:
            return replace(await self.inventory.get(plan.id), job=job.id)
        except EnvironmentNotFound:
            return from_container.pending(plan, job.id)


def _compared(environment: Environment, made_by: str, plan: Plan) -> Environment:
    """Add a warning to one that is made by a plan of another hash; an outdated one says so already."""
    if made_by == plan.hash or environment.outdated:
        return environment
    return replace(environment, warnings=(*environment.warnings, OTHER_OPTIONS))
