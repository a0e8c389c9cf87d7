"""The sources of mounts as they are at this moment: looked at before every start, and again after it.

Code in a container can swap whatever it can write for a link to something else, at any time. So a source is handed to
the engine without links, has to be without links at each later start, and is held open until the container has told
what it really got.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from .. import workspaces
from ..engines.model import Mount
from ..errors import MountForbidden, MountMissing
from ..mounts import inside

Identity: TypeAlias = tuple[int, int]
"""Device and inode: what a file is, whatever its name."""

MAX_LINKS = 40
"""Links on the way to one file, as Linux has it (path_resolution(7))."""


@dataclass(frozen=True)
class Source:
    """One source, held open. `descriptor` is an `O_PATH` one, so its inode is used for nothing else meanwhile."""

    mount: Mount
    descriptor: int
    identity: Identity
    directory: bool


def resolved(mounts: Sequence[Mount], writable: Iterable[str]) -> tuple[Mount, ...]:
    """Return the mounts with sources that no link leads to.

    Parameters
    ----------
    writable
        Folders that code in a container can write. A link in there may be the work of that code, and is not followed.

    Raises
    ------
    MountForbidden
        A link in a writable folder leads to a source.
    WorkspaceForbidden
        A link on the way may not be read.
    """
    places = [os.path.realpath(folder) for folder in writable]
    return tuple(_resolved(mount, places) for mount in mounts)


@contextmanager
def held(mounts: Sequence[Mount]) -> Iterator[list[Source]]:
    """Open each source as it is now. Raises MountMissing, MountForbidden if it is not where it was, or a link."""
    with ExitStack() as stack:
        sources = []
        for mount in mounts:
            source = _opened(mount)
            stack.callback(os.close, source.descriptor)
            sources.append(source)
        yield sources


def now(source: Source) -> Identity | None:
    """Return the identity of what lies at its path now; `None` if a link leads there, or nothing does."""
    try:
        found = _opened(source.mount)
    except (MountMissing, MountForbidden):
        return None
    os.close(found.descriptor)
    return found.identity


def _resolved(mount: Mount, places: Sequence[str]) -> Mount:
    for link, folder in _links(mount.source):
        for place in places:
            if inside(folder, place):
                raise MountForbidden(
                    f"{mount.source} cannot be mounted: {link} is a link to {os.path.realpath(link)}, and lies in "
                    f"{place}, where code in an environment could have made it.",
                    hint=f"If you want it, mount {os.path.realpath(mount.source)} itself.",
                    details={"mount": mount.target, "source": mount.source},
                )
    return replace(mount, source=workspaces.resolved(mount.source))


def _links(path: str) -> Iterator[tuple[str, str]]:
    """Every link on the way to a path, with the folder, itself without links, that it lies in."""
    here, left, seen = "/", [word for word in path.split("/") if word], 0
    while left and seen <= MAX_LINKS:
        word = left.pop(0)
        if word in (".", ".."):
            here = os.path.dirname(here) if word == ".." else here
            continue
        step = os.path.join(here, word)
        try:
            target = os.readlink(step)
        except OSError:
            here = step
            continue
        yield step, here
        seen += 1
        if target.startswith("/"):
            here = "/"
        left[:0] = [part for part in target.split("/") if part]


def _opened(mount: Mount) -> Source:
    try:
        descriptor = os.open(mount.source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _missing(mount, f" ({error.strerror})") from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISLNK(found.st_mode) or os.readlink(f"/proc/self/fd/{descriptor}") != mount.source:
            raise MountForbidden(
                f"{mount.source} leads to {_shown(descriptor, mount)} now, which is not what was mounted at first.",
                hint=f"See who made that link. To go on, put the folder back at {mount.source}; what was installed "
                "in the environment is still there.",
                details={"mount": mount.target, "source": mount.source},
            )
    except BaseException:
        os.close(descriptor)
        raise
    return Source(mount, descriptor, (found.st_dev, found.st_ino), stat.S_ISDIR(found.st_mode))


def _shown(descriptor: int, mount: Mount) -> str:
    """Return where a path leads, as far as that may be read."""
    try:
        return os.path.realpath(mount.source)
    except OSError:
        return os.readlink(f"/proc/self/fd/{descriptor}")


def _missing(mount: Mount, why: str) -> MountMissing:
    return MountMissing(
        f"{mount.source} cannot be mounted: it is not there{why}.",
        hint="Make it, or correct the mount.",
        details={"mount": mount.target, "source": mount.source},
    )
