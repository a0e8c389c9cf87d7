"""Getting a plan's image onto the engine, and not for nothing."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial

from ..container_layout import LABEL
from ..engines.base import Engine, ImageInfo
from ..engines.model import BuildRecipe, ContainerSpec, Progress, Reporter, Resources
from ..errors import BuildFailed, EngineError, GpuUnavailable
from ..planning import host_python, proxies
from ..planning.dockerfile import KIT
from ..planning.model import Plan
from ..settings import Settings
from ..workers import off_loop


@dataclass(frozen=True)
class Images:
    """Imports, pulls and builds; holds no state of its own."""

    engine: Engine
    settings: Settings

    async def ensure(self, plan: Plan, report: Reporter) -> ImageInfo:
        """The plan's image, imported, pulled or built unless the engine has it.

        Raises what the engine raises, and `GpuUnavailable` before anything is pulled for a GPU that is not there.
        """
        image = plan.image
        if (found := await self.engine.image(image.reference)) is not None:
            return found
        if image.kind == "host":
            return await self._import_host()
        if plan.container.resources.gpus:
            await self._require_gpu(plan)
        if image.recipe is not None:
            report.progress(Progress("build", f"Building {image.reference}"))
            try:
                return await self.engine.build(await self._equipped(image.recipe), report)
            except BuildFailed as error:
                raise with_proxies(error, self.settings) from error
        report.progress(Progress("pull", f"Pulling {image.reference}"))
        return await self.engine.pull(image.reference, report)

    async def _import_host(self) -> ImageInfo:
        return await self.engine.import_image(host_python.reference(), host_python.tar(), {f"{LABEL}.preset": "host"})

    async def _require_gpu(self, plan: Plan) -> None:
        """Ask for the GPU with a container of nothing, since an engine tells what it has by trying only.

        Only an engine that has no driver at all is believed here: an image of a few bytes may fail for other reasons.
        """
        if await self.engine.image(host_python.reference()) is None:
            await self._import_host()
        probe = ContainerSpec(
            name=f"mlenv-gpu-{secrets.token_hex(6)}",
            image=host_python.reference(),
            command=("/nothing",),
            labels={f"{LABEL}.owner": self.settings.owner},
            resources=Resources(gpus=plan.container.resources.gpus),
            network="none",
        )
        try:
            await self.engine.create(probe)
            await self.engine.start(probe.name)
        except GpuUnavailable as error:
            if error.details.get("no_driver"):
                raise with_twin(error, plan) from error
        except EngineError:
            pass  # it has no program to run; the request for a GPU came through
        finally:
            await asyncio.shield(self.engine.remove(probe.name))

    async def _equipped(self, recipe: BuildRecipe) -> BuildRecipe:
        """The recipe with what this host adds to a build of ours: uv, the CA bundle, proxy and index settings."""
        if not any(entry.path.startswith(f"{KIT}/") for entry in recipe.files):
            return recipe
        facts = await self.engine.facts()
        buildkit = facts.buildkit and self.settings.builder != "classic"
        equip = partial(host_python.equipped, recipe, self.settings, facts.architecture, buildkit=buildkit)
        return await off_loop(equip)


def with_proxies(error: BuildFailed, settings: Settings) -> BuildFailed:
    """Return the error of a build that could not reach a proxy with its reason, where that is plain."""
    local = proxies.on_loopback(settings.proxies)
    if not local or "connection refused" not in "\n".join((error.message, *error.log)).lower():
        return error
    return BuildFailed(error.message, hint=proxies.HINT.format(local[0]), details=error.details, log=error.log)


def with_twin(error: GpuUnavailable, plan: Plan) -> GpuUnavailable:
    """Return the error with the preset to use instead in its hint."""
    if not plan.twin:
        return error
    hint = f'Use the preset "{plan.twin}", which runs on the CPU. {error.hint}'.strip()
    return GpuUnavailable(error.message, hint=hint, details=error.details, log=error.log)
