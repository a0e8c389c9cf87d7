"""Every start decides anew: what may be mounted, before it; what was mounted, after it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .. import workspaces
from ..agent_client import AgentClient
from ..container_layout import LABEL, RUN_DIR
from ..engines.base import Engine
from ..engines.model import Mount
from ..errors import MountForbidden, SourceMissing, WorkspaceForbidden
from ..mounts import confine
from ..planning import allowed_images, label, limits, mount_sources
from ..planning.model import Plan
from ..planning.mount_sources import Identity, Source
from ..planning.plan import maxima
from ..settings import Settings
from ..workers import off_loop
from . import engine_files


@dataclass(frozen=True)
class StartCheck:
    """The mounts of a container that is about to start, with their sources held open."""

    sources: Sequence[Source]
    run: Mount | None = None

    async def hear(self, engine: Engine, container: str) -> None:
        """Look whether it has this machine's run directory, when no agent answers in there. Raises EngineElsewhere."""
        if self.run is not None:
            await engine_files.hear(self.run, engine, container)

    async def prove(self, client: AgentClient, *, same_kernel: bool) -> None:
        """Compare what the container has with what was held, before anything of the person's runs in there.

        Parameters
        ----------
        same_kernel
            Whether device and inode mean the same on both sides; else a file's random name has to be seen.

        Raises
        ------
        MountForbidden
            A source was swapped while the container started.
        EngineElsewhere
            The engine sees other files than this machine.
        """
        if same_kernel:
            found = await client.stat([source.mount.target for source in self.sources])
            for source, seen in zip(self.sources, found, strict=True):
                if seen != source.identity:
                    await off_loop(_refuse, source, seen)
            return
        for source in self.sources:
            if source.directory:
                await engine_files.prove_by_name(source, client)


@asynccontextmanager
async def checked(
    workspace: str, mounts: Sequence[Mount], asked: Sequence[str], settings: Settings
) -> AsyncIterator[StartCheck]:
    """Decide whether these mounts may be, and hold their sources until the end.

    Parameters
    ----------
    asked
        The targets of mounts that a request asked for: they are confined as workspaces are.

    Raises
    ------
    WorkspaceNotFound, WorkspaceForbidden, MountMissing, MountForbidden
        The workspace or a source may not be mounted any more, or is not what it was.
    EngineElsewhere
        Instead of the engine's `SourceMissing`, where this machine does have the source.
    """
    await off_loop(_check_workspace, workspace, settings)
    holding = mount_sources.held([mount for mount in mounts if mount.target != RUN_DIR])
    sources = await off_loop(holding.__enter__)
    try:
        await off_loop(allow, [mount for mount in mounts if mount.target in asked], settings)
        yield StartCheck(sources, next((mount for mount in mounts if mount.target == RUN_DIR), None))
    except SourceMissing as error:
        await asyncio.to_thread(engine_files.explain, error, sources, mounts)
        raise
    finally:
        holding.__exit__(None, None, None)


def check_again(labels: Mapping[str, str], settings: Settings) -> Plan:
    """The plan of a container that exists, if the settings of today would still allow it. Raises LimitExceeded."""
    plan = label.from_label(labels.get(f"{LABEL}.plan", ""))
    limits.check(plan.container.resources, maxima(settings))
    if plan.image.kind == "pull":
        allowed_images.check([plan.image.reference], settings.allowed_images, f"The environment {plan.id}")
    return plan


def asked(labels: Mapping[str, str]) -> list[str]:
    """The targets of the mounts that a request asked for when the container was made."""
    return [target for target in labels.get(f"{LABEL}.asked", "").split("\n") if target]


def allow(mounts: Sequence[Mount], settings: Settings) -> None:
    """Confine the mounts of a request to where workspaces may be. Raises WorkspaceForbidden."""
    folders = [os.path.realpath(folder) for folder in settings.allowed_workspaces]
    for mount in mounts if folders else ():
        confine(mount, workspaces.resolved(mount.source), folders)


def _check_workspace(workspace: str, settings: Settings) -> None:
    real = workspaces.check(workspace, settings)
    if real != workspace:
        raise WorkspaceForbidden(
            f"The project's folder {workspace} leads to {real} now, which is not what was mounted at first.",
            hint=f"See who made that link. To go on, put the folder back at {workspace}.",
            details={"workspace": workspace},
        )


def _refuse(source: Source, seen: Identity | None) -> None:
    """Raise, unless what lies there now, without links, is what the container has: a file that was made anew."""
    here = mount_sources.now(source)
    if seen is not None and seen == here:
        return
    if seen is None or here == source.identity:
        raise engine_files.elsewhere(source)
    raise MountForbidden(
        f"{source.mount.source} was swapped for something else while the environment started; it is stopped again.",
        hint="See what runs in your other environments: code in one of them may be doing that.",
        details={"mount": source.mount.target, "source": source.mount.source},
    )
