"""Things that nothing needs any more: images, leftovers of kernels with an environment of their own, run directories.

An environment is never among it, also not one that is stopped: what is installed in it cannot be had again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from .. import timestamps
from ..container_layout import LABEL
from ..engines.base import Engine, ImageInfo
from ..errors import EngineError
from ..planning.model import ISOLATED, LEFTOVER_AGE_SECONDS
from .model import Environment, State
from .planner import Planner

OURS = "mlenv/"
"""The beginning of the names of images that are built here."""


@dataclass(frozen=True)
class UnusedImage:
    """An image of ours that no container is made from and no preset means.

    `size` in bytes, with layers that other images have too.
    """

    names: tuple[str, ...]
    preset: str
    size: int
    created: datetime | None


@dataclass(frozen=True)
class Unused:
    """All that can go. `cache`: bytes of the engine's build cache, which serves every build on that engine."""

    images: tuple[UnusedImage, ...]
    environments: tuple[Environment, ...]
    cache: int


@dataclass(frozen=True)
class Pruned(Unused):
    """All that was removed. `cache`: bytes that the engine's build cache had."""

    run_directories: tuple[str, ...]


async def find(engine: Engine, planner: Planner, environments: Sequence[Environment], workspace: str) -> Unused:
    """Look what nothing needs. Raises what the engine raises.

    Parameters
    ----------
    environments
        Those of this owner; presets of their projects are needed.
    workspace
        A further project whose presets are needed; may be empty.
    """
    leftovers = tuple(filter(_is_leftover, environments))
    folders = {workspace, *(environment.workspace for environment in environments)}
    wanted = await asyncio.gather(*map(planner.images, sorted(folders)))
    references = {name for known, _ in wanted for name in known}
    unknown = {name for _, names in wanted for name in names}
    containers = await engine.list({f"{LABEL}.id": ""})
    gone = {environment.container for environment in leftovers}
    taken = references | {info.image for info in containers if info.id not in gone}
    images = await engine.images({f"{LABEL}.preset": ""})
    return Unused(
        images=tuple(_unused(images, taken, unknown)),
        environments=leftovers,
        cache=await engine.build_cache(),
    )


async def remove_images(engine: Engine, images: Iterable[UnusedImage]) -> list[UnusedImage]:
    """Remove them; those that are gone. One that somebody uses by now stays, as the engine sees to."""
    removed = []
    for image in images:
        with suppress(EngineError):
            for name in image.names:
                await engine.remove_image(name)
            removed.append(image)
    return removed


def _unused(images: Iterable[ImageInfo], taken: set[str], kept: set[str]) -> Iterable[UnusedImage]:
    for info in sorted(images, key=lambda info: info.size, reverse=True):
        preset = info.labels.get(f"{LABEL}.preset", "")
        # What somebody has built upon an image of ours has its labels too, and another name.
        ours = bool(info.tags) and all(name.startswith(OURS) for name in info.tags)
        if ours and preset not in kept and taken.isdisjoint({*info.tags, info.id}):
            yield UnusedImage(info.tags, preset, info.size, info.created)


def _is_leftover(environment: Environment) -> bool:
    old = timestamps.age(environment.created).total_seconds() > LEFTOVER_AGE_SECONDS
    stopped = environment.state in (State.STOPPED, State.FAILED)
    return environment.name.startswith(ISOLATED) and stopped and old and not environment.job
