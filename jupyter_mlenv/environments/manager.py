"""The use cases: what a person can do with environments, for the server and the command line alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..engines.base import Engine, EngineEvent
from ..errors import EnvironmentNotFound, NotFound, PresetInvalid
from ..planning.model import StartRequest
from ..presets.model import Preset
from ..settings import Settings
from . import jupyter_version
from .change_feed import Changes, EnvironmentChanged, EnvironmentRemoved, KernelsChanged, Snapshot
from .inventory import Inventory
from .job import Job, JobKind
from .jobs import Jobs
from .jupyter_version import JupyterVersions
from .locks import Locks
from .model import Environment
from .planner import LOOK_SECONDS, Planner
from .turns import Told, unheard

if TYPE_CHECKING:
    from ..agent_client import AgentClient, ListeningPort
    from ..agent_client.routes import Route
    from .agents import Agents
    from .endpoints import Services
    from .lifecycle import Lifecycle
    from .operations import Operations
    from .prune import Pruned, Unused

CLEAN_UP_SECONDS, RELEASE_SECONDS = 4.0, 1.0
"""The time that the end of a process leaves to jobs that clean up, before and after the engine is let go of."""


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
        self._jupyter_versions = JupyterVersions(self.look, self.agent, self._publish)
        self._inventory = Inventory(engine, settings.owner, jobs, self._planner, self._jupyter_versions.warnings)
        self._changes = Changes(
            engine, jobs, settings.owner, snapshot=self._snapshot, refresh=self._refresh, invalidate=self._invalidate
        )

    # Loaded when they are first used: a process that lists or stops environments needs half of all.

    @cached_property
    def _lifecycle(self) -> Lifecycle:
        from .lifecycle import Lifecycle  # noqa: PLC0415

        return Lifecycle(self.engine, self.settings, Locks(self.settings.run_root))

    @cached_property
    def _operations(self) -> Operations:
        from .operations import Operations  # noqa: PLC0415

        return Operations(
            self.engine,
            self.settings.owner,
            self.jobs,
            self._planner,
            self._inventory,
            self._lifecycle,
            serve=self.service,
            forget=self._forget,
            gone=lambda id: self._changes.publish(EnvironmentRemoved(id)),
        )

    @cached_property
    def _agents(self) -> Agents:
        from .agents import Agents  # noqa: PLC0415

        return Agents(self.engine, self.settled, self._inventory.inspect)

    @cached_property
    def _services(self) -> Services:
        from .endpoints import Services  # noqa: PLC0415

        return Services(self.look, self._agents.get)

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
        return await self._inventory.all()

    async def known(self) -> Sequence[Environment]:
        """All environments in one engine call: without when they started, warnings, and whether they are outdated."""
        return await self._inventory.known()

    async def get(self, id: str) -> Environment:
        """One environment. Raises EnvironmentNotFound, also for one that is somebody else's."""
        return await self._inventory.get(id)

    async def look(self, id: str) -> Environment:
        """One environment without `outdated`: one engine call, and no file is read. Raises EnvironmentNotFound."""
        return await self._inventory.look(id)

    async def start(self, request: StartRequest, base_url: str = "/") -> tuple[Environment, Job]:
        """Start or reuse the environment of this request; the job ends when it (and its endpoint) answers.

        Raises PresetNotFound, PresetInvalid, ConsentRequired, WorkspaceForbidden, WorkspaceNotFound at once, and
        EnvironmentBusy as `Jobs.start` does; the job raises the rest.
        """
        return await self._operations.start(request, base_url)

    async def resume(self, id: str, base_url: str = "/", endpoint: str = "") -> tuple[Environment, Job]:
        """Start an environment that is stopped; one that runs is left as it is."""
        return await self._operations.start_existing(JobKind.START, id, base_url, endpoint)

    async def restart(self, id: str, base_url: str = "/", endpoint: str = "") -> tuple[Environment, Job]:
        """Stop and start: what was installed in it stays, what ran in it is gone.

        Raises EnvironmentBusy while it is being started or made anew; a restart that is under way is joined.
        """
        return await self._operations.start_existing(JobKind.RESTART, id, base_url, endpoint)

    async def stop(self, id: str) -> Environment:
        """Stop it; a start that is under way is cancelled, and what was only planned is given back as stopped."""
        return await self._operations.stop(id)

    async def remove(self, id: str) -> None:
        """Remove it with all that was installed in it; the workspace's files stay. Cancels a start under way."""
        await self._operations.remove(id)

    async def sweep(self) -> Sequence[str]:
        """Remove run directories whose containers are gone; their paths."""
        from . import leftovers  # noqa: PLC0415

        return await leftovers.sweep(self.engine, self.settings.run_root, self._lifecycle.locks)

    async def unused(self, workspace: str = "") -> Unused:
        """Images and other things that nothing needs; `workspace`: a project whose presets count in any case."""
        from . import prune  # noqa: PLC0415

        return await prune.find(self.engine, self._planner, await self._inventory.known(), workspace)

    async def prune(self, unused: Unused, *, cache: bool = False) -> Pruned:
        """Remove what is unused, and run directories without a container; with `cache` the engine's build cache too."""
        from . import prune  # noqa: PLC0415

        for environment in unused.environments:
            with suppress(EnvironmentNotFound):
                await self.remove(environment.id)
        images = await prune.remove_images(self.engine, unused.images)
        freed = await self.engine.empty_build_cache() if cache else 0
        return prune.Pruned(tuple(images), unused.environments, cache=freed, run_directories=tuple(await self.sweep()))

    async def logs(self, id: str, *, tail: int = 200, follow: bool = False) -> AsyncIterator[str]:
        """The environment's output, services included, line by line."""
        info = await self._inventory.inspect(id)
        async for line in self.engine.logs(info.id, tail=tail, follow=follow):
            yield line

    async def service(self, id: str, endpoint: str, base_url: str, told: Told = unheard) -> Route:
        """The route to an endpoint (its name, or a port), started where needed; see `Services.route`."""
        self._changes.ensure_running()
        route = await self._services.route(id, endpoint, base_url, told)
        if endpoint == jupyter_version.ENDPOINT:
            self._jupyter_versions.look(id)
        return route

    async def ports(self, id: str) -> Sequence[ListeningPort]:
        """The ports on which programs in it listen that nobody declared. Raises what `agent` raises.

        An agent of an older version knows of none.
        """
        agent = await self.agent(id)
        try:
            return await agent.ports()
        except NotFound:
            return []

    def cached_service(self, id: str, endpoint: str, base_url: str) -> Route | None:
        """The route if it is known; no await, no engine call."""
        return self._services.cached(id, endpoint, base_url)

    def forget_service(self, id: str, endpoint: str, base_url: str) -> None:
        """The route refused a connection: ask the agent again next time."""
        self._services.forget(id, endpoint, base_url)

    async def agent(self, id: str) -> AgentClient:
        """The agent of a running environment. Raises EnvironmentNotFound, EnvironmentNotRunning."""
        return await self._agents.get(await self.look(id))

    async def settled(self, id: str) -> None:
        """Wait for whoever is changing the environment; see `Lifecycle.settled`. Raises EnvironmentBusy."""
        await self._lifecycle.settled(id)

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

        Takes `CLEAN_UP_SECONDS` at most for what jobs have to clean up, and little more: an engine that does not
        answer is let go of meanwhile, which ends what waits for it.
        """
        jobs = asyncio.ensure_future(self.jobs.close())
        await asyncio.wait([jobs], timeout=CLEAN_UP_SECONDS)
        await self._jupyter_versions.close()
        await self._changes.close()
        self._planner.close()
        await self.engine.close()
        await asyncio.wait([jobs], timeout=RELEASE_SECONDS)

    def _forget(self, id: str) -> None:
        self._services.forget(id)
        self._jupyter_versions.forget(id)
        self._agents.forget(id)

    def _invalidate(self, event: EngineEvent) -> None:
        """Forget what is no longer so after a change."""
        if event.kind in ("die", "destroy", "start", "pause"):
            self._forget(event.environment)
        elif event.kind == "connected":
            self._services.forget_all()
            self._agents.forget_all()

    async def _snapshot(self) -> Snapshot:
        return Snapshot(await self.list(), self.jobs.all())

    async def _publish(self, id: str) -> None:
        self._changes.publish(EnvironmentChanged(await self.get(id)))

    async def _refresh(self, id: str) -> EnvironmentChanged | EnvironmentRemoved:
        try:
            return EnvironmentChanged(await self.get(id))
        except EnvironmentNotFound:
            return EnvironmentRemoved(id)
