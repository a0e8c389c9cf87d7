"""The use cases: what a person can do with environments, for the server and the command line alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..agent_client import AgentClient
from ..agent_client.routes import Route
from ..bounded_cache import BoundedCache
from ..container_layout import LABEL
from ..engines.base import ContainerInfo, Engine, EngineEvent
from ..engines.model import Progress
from ..errors import (
    ContainerNotFound,
    EngineError,
    EnginePermission,
    EngineUnavailable,
    EnvironmentNotFound,
    PresetInvalid,
)
from ..planning import plan as planning
from ..planning.model import Plan, StartRequest, container_name, environment_id
from ..presets.model import DockerfileImage, Preset
from ..settings import Settings
from ..treewalk import OutOfTime
from . import from_container, jupyter_version, leftovers
from .change_feed import Changes, EnvironmentChanged, EnvironmentRemoved, KernelsChanged, Snapshot
from .endpoints import Services
from .jobs import Job, JobKind, Jobs, JobState
from .jupyter_version import InsideJupyter
from .lifecycle import Lifecycle
from .locks import Locks
from .model import Environment, State
from .planner import LOOK_SECONDS, Planner

CLEAN_UP, LET_GO = 4.0, 1.0
"""Seconds that the end of a process leaves to jobs that clean up, before and after the engine is let go of."""

MAX_STOP_SECONDS = 600
"""The longest time that a container has to end, whatever its label says."""

OTHER_OPTIONS = "It was made with other options than these, or by an older version. With --recreate it is made anew."
"""The warning of a start that found the environment as it was made before."""

MAX_AGENTS = 1024
"""Clients of agents remembered at most; another one is made again."""

Run = tuple[str, datetime | None]
"""Container and time of its start: one agent's life."""


class Environments:
    """Everything about one person's environments on one engine.

    The engine is the only database: an instance remembers routes and agent clients, which the engine's events
    invalidate, and nothing else. Every method raises `EngineUnavailable` or `EnginePermission` with no engine.
    """

    def __init__(self, engine: Engine, settings: Settings, jobs: Jobs) -> None:
        self.engine = engine
        self.settings = settings
        self.jobs = jobs
        self._planner = Planner(engine, settings)
        self._lifecycle = Lifecycle(engine, settings, Locks(settings.run_root))
        self._services = Services(self.look, self._agent)
        self._inside = InsideJupyter(self.look, self._agent, self._changed)
        self._pending: dict[str, Environment] = {}
        self._agents: BoundedCache[str, tuple[Run, AgentClient]] = BoundedCache(MAX_AGENTS)
        self._changes = Changes(
            engine, jobs, settings.owner, snapshot=self._snapshot, refresh=self._refresh, seen=self._seen
        )

    async def presets(self, workspace: str = "") -> tuple[list[Preset], list[PresetInvalid]]:
        """The presets a person can start in this workspace, and the files that hold no valid one."""
        return await self._planner.presets(workspace)

    async def agree(self, folder: str, digest: str) -> None:
        """The person has seen what a project's preset would run, and agrees; see `consent.agree` for what is raised."""
        await self._planner.agree(folder, digest)

    async def ready(
        self, presets: Sequence[Preset], workspace: str = "", *, seconds: float | None = LOOK_SECONDS
    ) -> dict[str, bool | None]:
        """By preset name, whether its image is on the engine; see `Planner.ready`."""
        return await self._planner.ready(presets, workspace, seconds)

    async def list(self) -> list[Environment]:
        """All environments of this owner, each as `get` gives it, and those that a job is about to make."""
        listed = await self._listed()
        there = [one for one in await asyncio.gather(*map(self._closer, listed)) if one is not None]
        return list(self._with_coming(await self._with_outdated(there)))

    async def known(self) -> Sequence[Environment]:
        """All environments in one engine call: without when they started, warnings, and whether they are outdated."""
        return self._with_coming([from_container.environment(info) for info in await self._listed()])

    async def get(self, id: str) -> Environment:
        """One environment. Raises EnvironmentNotFound, also for one that is somebody else's."""
        (environment,) = await self._with_outdated([await self.look(id)])
        return environment

    async def look(self, id: str) -> Environment:
        """The same but for whether it is outdated: one engine call, and no file is read. Raises EnvironmentNotFound."""
        try:
            return self._seen_by_jobs(from_container.environment(await self._inspect(id)))
        except EnvironmentNotFound:
            if id in self._pending:
                return self._pending[id]
            raise

    async def start(self, request: StartRequest, base_url: str = "/") -> tuple[Environment, Job]:
        """Start or reuse the environment of this request; the job ends when it (and its endpoint) answers.

        Raises PresetNotFound, PresetInvalid, ConsentRequired, WorkspaceForbidden, WorkspaceNotFound at once, and
        EnvironmentBusy as `Jobs.start` does; the job raises the rest.
        """
        request, preset = await self._planner.chosen(request)
        id = environment_id(self.settings.owner, request.workspace, preset.name, request.name)
        runs = isinstance(preset.image, DockerfileImage) and not request.recreate and await self._runs(id)
        try:
            plan = await self._planner.plan(preset, request, LOOK_SECONDS if runs else None)
        except OutOfTime:  # whether it is outdated is not worth reading all that its image is made of
            return await self.resume(id, base_url, request.endpoint)

        async def work(job: Job) -> Environment:
            info = await self._lifecycle.up(plan, job, recreate=request.recreate)
            return await self._up(info, request.endpoint, base_url, job, plan.hash)

        job = await self._job(JobKind.RECREATE if request.recreate else JobKind.START, plan.id, work, plan.hash)
        if job.state is JobState.RUNNING:
            self._pending.setdefault(plan.id, from_container.pending(plan, job.id))
        environment = await self._view(plan, job)
        if job.plan_hash not in ("", plan.hash):  # a start that was under way already
            environment = replace(environment, warnings=(*environment.warnings, OTHER_OPTIONS))
        return environment, job

    async def resume(self, id: str, base_url: str = "/", endpoint: str = "") -> tuple[Environment, Job]:
        """Start an environment that is stopped; one that runs is left as it is."""
        return await self._again(JobKind.START, id, base_url, endpoint)

    async def restart(self, id: str, base_url: str = "/", endpoint: str = "") -> tuple[Environment, Job]:
        """Stop and start: what was installed in it stays, what ran in it is gone.

        Raises EnvironmentBusy while it is being started or made anew; a restart that is under way is joined.
        """
        return await self._again(JobKind.RESTART, id, base_url, endpoint)

    async def stop(self, id: str) -> Environment:
        """Stop it; a start that is under way is cancelled, and what was only planned is given back as stopped."""
        planned = self._pending.get(id)
        cancelled = await self._cancel(id)
        async with self._lifecycle.held(id):
            try:
                info = await self._inspect(id)
            except EnvironmentNotFound:
                if cancelled and planned is not None:
                    return replace(planned, state=State.STOPPED, job="")
                raise
            self._forget(id)
            await self._stop_container(info)
        return await self.get(id)

    async def remove(self, id: str) -> None:
        """Remove it with all that was installed in it; the workspace's files stay. Cancels a start under way."""
        cancelled = await self._cancel(id)
        async with self._lifecycle.held(id):
            self._forget(id)
            try:
                await self._lifecycle.remove(await self._inspect(id))
            except EnvironmentNotFound:
                if not cancelled:
                    raise

    async def sweep(self) -> Sequence[str]:
        """Remove run directories whose containers are gone; their paths."""
        return await leftovers.sweep(self.engine, self.settings.run_root, self._lifecycle.locks)

    async def logs(self, id: str, *, tail: int = 200, follow: bool = False) -> AsyncIterator[str]:
        """The environment's output, services included, line by line."""
        info = await self._inspect(id)
        async for line in self.engine.logs(info.id, tail=tail, follow=follow):
            yield line

    async def service(self, id: str, endpoint: str, base_url: str) -> Route:
        """How to reach an endpoint (its name, or a port), started where needed; see `Services.route` for errors."""
        self._changes.ensure_running()
        route = await self._services.route(id, endpoint, base_url)
        if endpoint == jupyter_version.ENDPOINT:
            self._inside.look(id)
        return route

    def cached_service(self, id: str, endpoint: str, base_url: str) -> Route | None:
        """The route if it is known; no await, no engine call."""
        return self._services.cached(id, endpoint, base_url)

    def forget_service(self, id: str, endpoint: str, base_url: str) -> None:
        """The route refused a connection: ask the agent again next time."""
        self._services.forget(id, endpoint, base_url)

    async def agent(self, id: str) -> AgentClient:
        """The agent of a running environment. Raises EnvironmentNotFound, EnvironmentNotRunning."""
        environment = await self.look(id)
        if environment.state is not State.RUNNING:
            raise from_container.not_running(environment)
        return await self._agent(environment)

    async def settled(self, id: str) -> None:
        """Wait for whoever is changing the environment; no engine call.

        Whoever has just started it looks first at what it has mounted, and may stop it again. Raises EnvironmentBusy.
        """
        async with self._lifecycle.held(id):
            pass

    def subscribe(self, base_url: str = "/") -> AsyncIterator[dict[str, Any]]:
        """The changes of `docs/architecture.md` as JSON objects, a snapshot first."""
        return self._changes.subscribe(base_url)

    def on_images_changed(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` when an image has come or gone, while somebody subscribes; returns what takes it back."""
        return self._changes.on_images(listener)

    def kernels_changed(self) -> None:
        """Tell whoever subscribes that kernelspecs have come or gone."""
        self._changes.publish(KernelsChanged())

    async def close(self) -> None:
        """Cancel jobs, stop following the engine, let go of it. Environments keep running.

        Takes `CLEAN_UP` seconds at most for what jobs have to clean up, and little more: an engine that does not
        answer is let go of meanwhile, which ends what waits for it.
        """
        jobs = asyncio.ensure_future(self.jobs.close())
        await asyncio.wait([jobs], timeout=CLEAN_UP)
        await self._inside.close()
        await self._changes.close()
        self._planner.close()
        await self.engine.close()
        await asyncio.wait([jobs], timeout=LET_GO)

    async def _runs(self, id: str) -> bool:
        try:
            return (await self.look(id)).state is State.RUNNING
        except EnvironmentNotFound:
            return False

    async def _again(self, kind: JobKind, id: str, base_url: str, endpoint: str) -> tuple[Environment, Job]:
        environment = await self.get(id)

        async def work(job: Job) -> Environment:
            async with self._lifecycle.held(id) as sure:
                try:
                    await self._inspect(id)
                except EnvironmentNotFound as error:
                    raise EnvironmentNotFound(
                        f"The environment {id} was removed meanwhile.",
                        hint=f"Start it anew: jupyter mlenv start {environment.preset}",
                        details={"environment": id},
                    ) from error
                info = await self._lifecycle.existing(container_name(id), sure=sure)
                if info is None:
                    raise EnvironmentNotFound(
                        f"The environment {id} was only half made: an earlier start of it was interrupted. What there "
                        "was of it is removed now.",
                        hint=f"Start it anew: jupyter mlenv start {environment.preset}",
                    )
                self._lifecycle.check(info)
                if kind is JobKind.RESTART and info.status != "exited":
                    await self._lifecycle.allowed(info)
                    job.progress(Progress("stop", "Stopping"))
                    self._forget(id)
                    await self._stop_container(info)
                    info = await self._inspect(id)
                info = await self._lifecycle.wake(info, job)
            return await self._up(info, endpoint, base_url, job)

        job = await self._job(kind, id, work)
        return from_container.with_job(environment, job.id), job

    async def _up(
        self, info: ContainerInfo, endpoint: str, base_url: str, job: Job, plan_hash: str = ""
    ) -> Environment:
        environment = from_container.environment(info)
        if endpoint:
            job.progress(Progress("service", f"Starting {endpoint}"))
            await self.service(environment.id, endpoint, base_url)
        (environment,) = await self._with_outdated([environment])
        if plan_hash and environment.plan_hash != plan_hash and not environment.outdated:
            return replace(environment, warnings=(*environment.warnings, OTHER_OPTIONS))
        return environment

    async def _listed(self) -> Sequence[ContainerInfo]:
        containers = await self.engine.list({f"{LABEL}.owner": self.settings.owner})
        return [info for info in containers if from_container.named(info)]

    async def _closer(self, listed: ContainerInfo) -> Environment | None:
        """What only a question about this one container tells; `None` if it is gone by then."""
        try:
            return from_container.environment(await self.engine.inspect(listed.id))
        except ContainerNotFound:
            return None
        except (EngineUnavailable, EnginePermission):
            raise
        except EngineError:  # one odd container must not hide all others
            return from_container.environment(listed)

    async def _with_outdated(self, environments: Sequence[Environment]) -> Sequence[Environment]:
        outdated = await self._planner.outdated(environments)
        return [replace(one, outdated=True) if one.id in outdated else one for one in environments]

    def _with_coming(self, there: Sequence[Environment]) -> Sequence[Environment]:
        known = {environment.id for environment in there}
        coming = [environment for id, environment in self._pending.items() if id not in known]
        return sorted([*map(self._seen_by_jobs, there), *coming], key=lambda environment: environment.id)

    async def _stop_container(self, info: ContainerInfo) -> None:
        spec = planning.from_label(info.labels.get(f"{LABEL}.plan", "")).container
        await self.engine.stop(info.id, min(spec.stop_timeout, MAX_STOP_SECONDS))

    async def _job(
        self, kind: JobKind, id: str, work: Callable[[Job], Awaitable[Environment]], plan_hash: str = ""
    ) -> Job:
        job = await self.jobs.start(kind, id, work, plan_hash=plan_hash)

        def ended(changed: Job) -> None:
            if changed is job and job.state is not JobState.RUNNING:
                unlisten()
                if self._pending.pop(id, None) is not None and job.state is not JobState.DONE:
                    self._changes.publish(EnvironmentRemoved(id))

        unlisten = self.jobs.listen(ended)
        return job

    async def _cancel(self, id: str) -> bool:
        job = self.jobs.running(id)
        if job is None:
            return False
        job.cancel()
        await job.ended()
        return True

    async def _view(self, plan: Plan, job: Job) -> Environment:
        try:
            return replace(await self.get(plan.id), job=job.id)
        except EnvironmentNotFound:
            return from_container.pending(plan, job.id)

    def _seen_by_jobs(self, environment: Environment) -> Environment:
        warnings = self._inside.warnings(environment.id)
        if warnings and environment.state is State.RUNNING:
            environment = replace(environment, warnings=(*environment.warnings, *warnings))
        job = self.jobs.running(environment.id)
        return from_container.with_job(environment, job.id) if job else environment

    async def _inspect(self, id: str) -> ContainerInfo:
        try:
            info = await self.engine.inspect(container_name(id))
        except ContainerNotFound:
            info = None
        if info is None or info.labels.get(f"{LABEL}.owner") != self.settings.owner:
            raise EnvironmentNotFound(f"There is no environment {id}.", hint="See: jupyter mlenv list")
        return info

    async def _agent(self, environment: Environment) -> AgentClient:
        run = (environment.container, environment.started)
        known = self._agents.get(environment.id)
        # Another process may have made it anew, with another token, before its events got here.
        if known is None or known[0] != run:
            await self.settled(environment.id)
            known = run, await self._lifecycle.client(await self._inspect(environment.id))
            self._agents.put(environment.id, known)
        return known[1]

    def _forget(self, id: str) -> None:
        self._services.forget(id)
        self._inside.forget(id)
        self._agents.drop(id)

    def _seen(self, event: EngineEvent) -> None:
        if event.kind in ("die", "destroy", "start", "pause"):
            self._forget(event.environment)
        elif event.kind == "connected":
            self._services.forget_all()
            self._agents.drop_all()

    async def _snapshot(self) -> Snapshot:
        return Snapshot(await self.list(), self.jobs.all())

    async def _changed(self, id: str) -> None:
        self._changes.publish(EnvironmentChanged(await self.get(id)))

    async def _refresh(self, id: str) -> EnvironmentChanged | EnvironmentRemoved:
        try:
            return EnvironmentChanged(await self.get(id))
        except EnvironmentNotFound:
            return EnvironmentRemoved(id)
