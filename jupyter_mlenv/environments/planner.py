"""Presets and plans for the use cases: what both read from disks is read in threads of our own, and bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from .. import workspaces
from ..container_layout import LABEL
from ..engines.base import Engine, EngineFacts, ImageInfo
from ..errors import EngineElsewhere, MlenvError, PresetInvalid
from ..planning import consent, image_plan, label, recipe
from ..planning.model import ImagePlan, Plan, StartRequest
from ..presets import DEFAULT_NAME, loader
from ..presets.model import Preset
from ..settings import Settings
from ..treewalk import Budget, OutOfTime
from ..workers import Workers
from .model import Environment

THREADS = 4
"""Threads that read presets, Dockerfiles and the names of what is copied into images."""

LOOK_SECONDS = 0.5
"""The time that a look at a preset may read what its image is made of; a start takes as long as it takes."""

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
"""Files that Docker and Podman put into each container."""

T = TypeVar("T")


class Planner:
    """Reads presets and makes plans; remembers only where this process runs. Raises what the engine raises."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._workers = Workers(THREADS, "mlenv-files")
        self._container: bool | None = None

    async def presets(self, workspace: str = "") -> tuple[list[Preset], list[PresetInvalid]]:
        """The presets a person can start in this workspace, and the files that hold no valid one."""
        found, broken = await self._load(workspace)
        lent = not await self._is_in_container(found)
        return [preset for preset in found if lent or not preset.uses_host_python], broken

    async def _load(self, workspace: str) -> tuple[list[Preset], list[PresetInvalid]]:
        def load() -> tuple[list[Preset], list[PresetInvalid]]:
            found, broken = loader.load(self._settings, workspace)
            return [consent.asked(preset, self._settings) for preset in found], broken

        return await self._workers.run(load)

    async def _is_in_container(self, presets: Sequence[Preset]) -> bool:
        """Return whether a preset lends files of a machine that is itself a container of this engine."""
        if not any(preset.uses_host_python for preset in presets):
            return False
        if self._container is None and not any(map(os.path.exists, CONTAINER_MARKS)):
            self._container = False
        if self._container is None:
            try:
                self._container = bool((await self._engine.facts()).container)
            except MlenvError:  # nothing can be started anyway
                return False
        return self._container

    async def agree(self, folder: str, digest: str) -> None:
        """The person has seen what a project's preset would run, and agrees; see `consent.agree` for what is raised."""
        folder = await self._workers.run(partial(workspaces.check, folder, self._settings))
        presets, broken = await self.presets(folder)
        await self._workers.run(partial(consent.agree, presets, broken, self._settings, folder, digest))

    async def chosen(self, request: StartRequest) -> tuple[StartRequest, Preset]:
        """The request with its workspace resolved, and the preset that it names.

        Raises PresetNotFound, PresetInvalid, ConsentRequired, WorkspaceForbidden, WorkspaceNotFound.
        """
        workspace = await self._workers.run(partial(workspaces.check, request.workspace, self._settings))
        presets, broken = await self._load(workspace)
        preset = loader.find(request.preset, presets, broken)
        consent.require(preset)
        if preset.uses_host_python and await self._is_in_container([preset]):
            raise EngineElsewhere(
                f'The preset "{preset.name}" lends the Python of this machine, and this Jupyter itself runs in a '
                "container, whose own files no other container can have.",
                hint="Use another preset: `jupyter mlenv presets` lists those that can be started here.",
                details={"preset": preset.name},
            )
        return replace(request, workspace=workspace), preset

    async def plan(self, preset: Preset, request: StartRequest, seconds: float | None = None) -> Plan:
        """Return the plan of a start, see `inputs.read` and `plan.make`.

        Raises OutOfTime after `seconds` of reading; `None` lets it take as long as it takes.
        """
        from ..planning import inputs, person  # noqa: PLC0415 - most processes make no plan
        from ..planning import plan as planning  # noqa: PLC0415
        from . import start_check  # noqa: PLC0415

        await self._workers.run(partial(start_check.allow, request.mounts, self._settings))
        facts, earlier = await self._engine.facts(), await self._previous_builds()
        writable = await self._writable() if preset.mounts or request.mounts or preset.uses_host_python else ()
        settings = person.inside(self._settings, facts)
        read = partial(inputs.read, preset, request, facts, settings, earlier=earlier, writable=writable)
        return planning.make(preset, request, facts, settings, await self._read(read, seconds))

    async def ready(self, presets: Sequence[Preset], workspace: str, seconds: float | None) -> dict[str, bool | None]:
        """By preset name, whether its image is on the engine, so that a start neither pulls nor builds.

        `None`: not known, since what its image is made of takes longer than `seconds` to read. What a person has not
        agreed to is not looked at, and missing.
        """
        presets = [preset for preset in presets if preset.consent is None]
        facts, labels = await self._engine.facts(), [info.labels for info in await self._previous_builds()]

        async def ready(preset: Preset) -> bool | None:
            make = partial(image_plan.make, preset, workspace, facts, self._settings, earlier=labels)
            try:
                image = await self._read(make, seconds)
            except OutOfTime:
                return None
            except MlenvError:  # a file it names is missing: a start says so
                return False
            return await self._engine.image(image.reference) is not None

        answers = await asyncio.gather(*(ready(preset) for preset in presets))
        return dict(zip((preset.name for preset in presets), answers, strict=True))

    async def outdated(self, environments: Sequence[Environment]) -> frozenset[str]:
        """The ids of those whose presets, or the files that images are built from, have changed since.

        What cannot be told is not outdated: a preset that is gone or broken, one whose image takes longer than
        `LOOK_SECONDS` to know, an environment that an older version made.
        """
        told = [environment for environment in environments if environment.recipe]
        if not told:
            return frozenset()
        facts = await self._engine.facts()
        found = await asyncio.gather(*(self._is_outdated(environment, facts) for environment in told))
        return frozenset(environment.id for environment, changed in zip(told, found, strict=True) if changed)

    async def _is_outdated(self, environment: Environment, facts: EngineFacts) -> bool:
        presets, _ = await self.presets(environment.workspace)
        preset = next((preset for preset in presets if preset.name == environment.preset), None)
        if preset is None:
            return False
        if preset.consent is not None:  # it was agreed to once, and says something else now
            return True
        image = await self._image(preset, environment.workspace, facts)
        return image is not None and recipe.digest(preset, image) != environment.recipe

    async def images(self, workspace: str) -> tuple[frozenset[str], frozenset[str]]:
        """The images that the presets of a project mean, and the names of presets for which that cannot be told."""
        presets, broken = await self.presets(workspace)
        facts = await self._engine.facts()
        unknown = {name for error in broken for name in (Path(str(error.details.get("file", ""))).stem, DEFAULT_NAME)}

        async def reference(preset: Preset) -> str:
            image = await self._image(preset, workspace, facts) if preset.consent is None else None
            return image.reference if image else ""

        found = await asyncio.gather(*map(reference, presets))
        unknown |= {preset.name for preset, name in zip(presets, found, strict=True) if not name}
        return frozenset(filter(None, found)), frozenset(unknown)

    def close(self) -> None:
        """Take no more questions."""
        self._workers.close()

    async def _image(self, preset: Preset, workspace: str, facts: EngineFacts) -> ImagePlan | None:
        """The image of a preset; `None` if it cannot be told, or not in `LOOK_SECONDS`."""
        make = partial(image_plan.make, preset, workspace, facts, self._settings)
        try:
            return await self._read(make, LOOK_SECONDS)
        except (OutOfTime, MlenvError):
            return None

    async def _read(self, make: Callable[..., T], seconds: float | None) -> T:
        """Return `make(pause=…)`, run in a thread; cancelled, it ends there too."""
        budget = Budget(seconds)
        try:
            return await self._workers.run(partial(make, pause=budget))
        finally:
            budget.stop()

    async def _writable(self) -> Sequence[str]:
        """Every folder of this machine that code in one of the person's environments can write."""
        containers = await self._engine.list({f"{LABEL}.owner": self._settings.owner})
        plans = [label.from_label(container.labels.get(f"{LABEL}.plan", "")) for container in containers]
        return [mount.source for plan in plans for mount in plan.container.mounts if not mount.read_only]

    async def _previous_builds(self) -> Sequence[ImageInfo]:
        """Images we built before: a preset that only adds packages to one reuses its layers."""
        return await self._engine.images({f"{LABEL}.groups": ""})
