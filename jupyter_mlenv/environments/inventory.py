"""The environments that there are: as the engine reports them, with what this process knows beside that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..container_layout import LABEL
from ..engines.base import NO_ENGINE, ContainerInfo, Engine
from ..errors import ContainerNotFound, EngineError, EnvironmentNotFound
from ..planning.model import container_name
from . import from_container
from .jobs import Jobs
from .model import Environment, State
from .planner import Planner


class Inventory:
    """Questions about one owner's environments; see `Environments` for those that are public.

    `planned` holds, by id, what a running job is about to make and the engine does not have. `warnings(id)` are those
    of a running environment that only this process knows. Every method raises what the engine raises.
    """

    def __init__(
        self,
        engine: Engine,
        owner: str,
        jobs: Jobs,
        planner: Planner,
        warnings: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._jobs = jobs
        self._planner = planner
        self._warnings = warnings
        self.planned: dict[str, Environment] = {}

    async def all(self) -> list[Environment]:
        """All environments, each as `get` gives it, and those that are planned."""
        found = await asyncio.gather(*map(self._inspected, await self._listed()))
        present = await self.with_outdated([environment for environment in found if environment is not None])
        return self._with_planned(present)

    async def known(self) -> list[Environment]:
        """All environments in one engine call: without when they started, warnings, and whether they are outdated."""
        return self._with_planned([from_container.environment(info) for info in await self._listed()])

    async def get(self, id: str) -> Environment:
        """One environment. Raises EnvironmentNotFound."""
        (environment,) = await self.with_outdated([await self.look(id)])
        return environment

    async def look(self, id: str) -> Environment:
        """One environment without `outdated`: one engine call, and no file is read. Raises EnvironmentNotFound."""
        try:
            return self._as_known_here(from_container.environment(await self.inspect(id)))
        except EnvironmentNotFound:
            if id in self.planned:
                return self.planned[id]
            raise

    async def is_running(self, id: str) -> bool:
        """Return whether an environment runs now; false for one that is not there."""
        try:
            return (await self.look(id)).state is State.RUNNING
        except EnvironmentNotFound:
            return False

    async def inspect(self, id: str) -> ContainerInfo:
        """The container of an environment. Raises EnvironmentNotFound, also for one that is somebody else's."""
        try:
            info = await self._engine.inspect(container_name(id))
        except ContainerNotFound:
            info = None
        if info is None or info.labels.get(f"{LABEL}.owner") != self._owner:
            raise EnvironmentNotFound(f"There is no environment {id}.", hint="See: jupyter mlenv list")
        return info

    async def with_outdated(self, environments: Sequence[Environment]) -> Sequence[Environment]:
        """Mark those whose presets have changed since; see `Planner.outdated`."""
        outdated = await self._planner.outdated(environments)
        return [
            replace(environment, outdated=True) if environment.id in outdated else environment
            for environment in environments
        ]

    async def _listed(self) -> Sequence[ContainerInfo]:
        containers = await self._engine.list({f"{LABEL}.owner": self._owner})
        return [info for info in containers if from_container.named(info)]

    async def _inspected(self, listed: ContainerInfo) -> Environment | None:
        """The environment of a container, by a question about it alone; `None` if it is gone by then."""
        try:
            return from_container.environment(await self._engine.inspect(listed.id))
        except ContainerNotFound:
            return None
        except NO_ENGINE:
            raise
        except EngineError:  # one odd container must not hide all others
            return from_container.environment(listed)

    def _with_planned(self, present: Sequence[Environment]) -> list[Environment]:
        ids = {environment.id for environment in present}
        planned = [environment for id, environment in self.planned.items() if id not in ids]
        return sorted([*map(self._as_known_here, present), *planned], key=lambda environment: environment.id)

    def _as_known_here(self, environment: Environment) -> Environment:
        """Add the job that works on an environment, and the warnings that the engine does not know."""
        warnings = self._warnings(environment.id)
        if warnings and environment.state is State.RUNNING:
            environment = replace(environment, warnings=(*environment.warnings, *warnings))
        job = self._jobs.running(environment.id)
        return from_container.with_job(environment, job.id) if job else environment
