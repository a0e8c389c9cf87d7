"""Every start decides anew: what may be mounted, before it; what was mounted, after it."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from . import allowedimages, limits, mountsources
from . import plan as planning
from . import workspace as workspaces
from .agentclient import AgentClient
from .errors import EngineElsewhere, MountForbidden, SourceMissing, WorkspaceForbidden
from .model import LABEL, RUN_DIR, Mount, Plan, Settings
from .mountsources import Identity, Source
from .workers import off_loop

NAMES = 16
"""Names of a folder that have to be seen inside where no file can be written into it."""

ELSEWHERE = (
    "Is the engine on another machine or in a virtual machine, or does it see other files, as one from a snap does? "
    "Use one of this machine's, or a project in a folder that both have at the same path. If it is this machine's: see "
    "whether code in another environment moves folders about."
)
"""What to do where the engine sees other files."""


@dataclass(frozen=True)
class StartCheck:
    """What is known of the mounts of a container that is about to start."""

    sources: Sequence[Source]

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
                await _prove_by_name(source, client)


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
    holding = mountsources.held([mount for mount in mounts if mount.target != RUN_DIR])
    sources = await off_loop(holding.__enter__)
    try:
        await off_loop(allow, [mount for mount in mounts if mount.target in asked], settings)
        yield StartCheck(sources)
    except SourceMissing as error:
        await asyncio.to_thread(_explain, error, sources, mounts)
        raise
    finally:
        holding.__exit__(None, None, None)


def check_again(labels: Mapping[str, str], settings: Settings) -> Plan:
    """The plan of a container that exists, if the settings of today would still allow it. Raises LimitExceeded."""
    plan = planning.from_label(labels.get(f"{LABEL}.plan", ""))
    limits.check(plan.container.resources, planning.maxima(settings))
    if plan.image.kind == "pull":
        allowedimages.check([plan.image.reference], settings.allowed_images, f"The environment {plan.id}")
    return plan


def asked(labels: Mapping[str, str]) -> list[str]:
    """The targets of the mounts that a request asked for when the container was made."""
    return [target for target in labels.get(f"{LABEL}.asked", "").split("\n") if target]


def allow(mounts: Sequence[Mount], settings: Settings) -> None:
    """Where workspaces are confined, so are the mounts of a request. Raises WorkspaceForbidden."""
    folders = [os.path.realpath(folder) for folder in settings.allowed_workspaces]
    for mount in mounts if folders else ():
        real = workspaces.resolved(mount.source)
        if not any(os.path.commonpath((real, folder)) == folder for folder in folders):
            raise WorkspaceForbidden(
                f"{mount.source} cannot be mounted: it is outside of the allowed workspaces.",
                hint=f"Allowed are paths in {', '.join(folders)}.",
                details={"mount": mount.target, "source": mount.source},
            )


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
    here = mountsources.now(source)
    if seen is not None and seen == here:
        return
    if seen is None or here == source.identity:
        raise _elsewhere(source)
    raise MountForbidden(
        f"{source.mount.source} was swapped for something else while the environment started; it is stopped again.",
        hint="See what runs in your other environments: code in one of them may be doing that.",
        details={"mount": source.mount.target, "source": source.mount.source},
    )


async def _prove_by_name(source: Source, client: AgentClient) -> None:
    """See a file of a random name inside, or what else lies in the folder where none can or should be written."""
    name = f".mlenv-{secrets.token_hex(16)}"
    made = not source.mount.read_only and await off_loop(_make, source.descriptor, name)
    try:
        names = [name] if made else await off_loop(_names, source.descriptor)
        found = await client.stat([os.path.join(source.mount.target, name) for name in names])
    finally:
        if made:
            await asyncio.shield(off_loop(_remove, source.descriptor, name))
    if None in found:
        raise _elsewhere(source)
    if not names and not source.mount.read_only:
        raise EngineElsewhere(
            f"Whether the engine mounts this machine's {source.mount.source} cannot be told: it is empty, and nothing "
            "can be written into it.",
            hint=ELSEWHERE,
            details={"mount": source.mount.target, "source": source.mount.source},
        )


def _explain(error: SourceMissing, sources: Sequence[Source], mounts: Sequence[Mount]) -> None:
    """Raise, if the engine has nothing at a source that is there on this machine."""
    path = error.details.get("source")
    for mount in mounts:
        if mount.source == path and mount.target == RUN_DIR:  # just made by us
            raise _run_elsewhere(mount) from error
    for source in sources:
        if source.mount.source == path and mountsources.now(source) == source.identity:
            raise EngineElsewhere(
                f"The engine has no {path}, which is there on this machine; so the environment cannot have it.",
                hint=ELSEWHERE,
                details={"mount": source.mount.target, "source": path},
            ) from error


def _run_elsewhere(mount: Mount) -> EngineElsewhere:
    folder = os.path.dirname(mount.source)
    return EngineElsewhere(
        f"The engine does not see this machine's run directory {folder}, by which environments are reached: it sees "
        "other files, as one from a snap or in a virtual machine does.",
        hint="Choose a folder that both have at the same path with --MlenvConfig.run_root=DIR, or have environments "
        "reached over a port with --MlenvConfig.shared_filesystem=False. Projects have to lie where both have them.",
        details={"mount": mount.target, "source": mount.source},
    )


def _elsewhere(source: Source) -> EngineElsewhere:
    return EngineElsewhere(
        f"What the engine mounted at {source.mount.target} is not what this machine has at {source.mount.source}; what "
        "is written there could be lost. The environment is stopped again.",
        hint=ELSEWHERE,
        details={"mount": source.mount.target, "source": source.mount.source},
    )


def _make(folder: int, name: str) -> bool:
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
    except OSError:
        return False
    return True


def _remove(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _names(folder: int) -> list[str]:
    """Some files and folders in it that are no links: those may lead to nothing inside."""
    try:
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return []
    try:
        with os.scandir(listing) as entries:
            found = (entry.name for entry in entries if not entry.is_symlink())
            return list(itertools.islice(found, NAMES))
    finally:
        os.close(listing)
