"""Proof that the engine sees this machine's files: one from a snap, on another or in a virtual machine may see others.

What is written into such a folder would be lost to the person. Device and inode tell where both have the same kernel;
else a name does: one that nobody else can have made.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from ..agent_client import AgentClient
from ..container_layout import RUN_DIR
from ..engines.base import Engine, FileMissing
from ..engines.model import Mount
from ..errors import EngineElsewhere, EngineError, SourceMissing
from ..planning import mount_sources
from ..planning.mount_sources import Source
from ..workers import off_loop

MAX_NAMES = 16
"""Names of a folder, at most, that have to be seen inside where no file can be written into it."""

ELSEWHERE_HINT = (
    "Is the engine on another machine or in a virtual machine, or does it see other files, as one from a snap does? "
    "Use one of this machine's, or a project in a folder that both have at the same path."
)
"""The advice where the engine sees other files."""


async def prove_by_name(source: Source, client: AgentClient) -> None:
    """See a file of a random name inside, or what else lies in the folder where none can or should be written.

    Raises EngineElsewhere.
    """
    async with _named(None if source.mount.read_only else source.descriptor) as name:
        names = [name] if name else await off_loop(_names, source.descriptor)
        found = await client.stat([os.path.join(source.mount.target, name) for name in names])
    if None in found:
        raise elsewhere(source)
    if not names and not source.mount.read_only:
        raise EngineElsewhere(
            f"Whether the engine mounts this machine's {source.mount.source} cannot be told: it is empty, and nothing "
            "can be written into it.",
            hint=ELSEWHERE_HINT,
            details={"mount": source.mount.target, "source": source.mount.source},
        )


async def hear(mount: Mount, engine: Engine, container: str) -> None:
    """See, through the engine, a file of the run directory, which this mount is of: no agent answers in there.

    Raises EngineElsewhere if the engine has another one, such as one that it made.
    """
    folder = await off_loop(os.open, mount.source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        async with _named(folder) as name:
            if name:
                await engine.read_file(container, os.path.join(RUN_DIR, name))
    except FileMissing:
        raise _run_elsewhere(mount) from None
    except EngineError:
        return  # it has ended, or the engine has no time
    finally:
        os.close(folder)


def explain(error: SourceMissing, sources: Sequence[Source], mounts: Sequence[Mount]) -> None:
    """Raise, if the engine has nothing at a source that is there on this machine."""
    path = error.details.get("source")
    for mount in mounts:
        if mount.source == path and mount.target == RUN_DIR:  # just made by us
            raise _run_elsewhere(mount) from error
    for source in sources:
        if source.mount.source == path and mount_sources.now(source) == source.identity:
            raise EngineElsewhere(
                f"The engine has no {path}, which is there on this machine; so the environment cannot have it.",
                hint=ELSEWHERE_HINT,
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


def elsewhere(source: Source) -> EngineElsewhere:
    return EngineElsewhere(
        f"What the engine mounted at {source.mount.target} is not what this machine has at {source.mount.source}; what "
        "is written there could be lost. The environment is stopped again.",
        hint=f"{ELSEWHERE_HINT} If it is this machine's: see whether code in another environment moves folders about.",
        details={"mount": source.mount.target, "source": source.mount.source},
    )


@asynccontextmanager
async def _named(folder: int | None) -> AsyncIterator[str]:
    """The name of an empty file in the folder; empty where there is none, or nothing can be written into it."""
    name = f".mlenv-{secrets.token_hex(16)}"
    if folder is None or not await off_loop(_make, folder, name):
        yield ""
        return
    try:
        yield name
    finally:
        await asyncio.shield(off_loop(_remove, folder, name))


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
            return list(itertools.islice(found, MAX_NAMES))
    finally:
        os.close(listing)
