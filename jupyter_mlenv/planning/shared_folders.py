"""Folders of the home directory that a person shares with all environments, such as caches of models."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..engines.model import Mount
from ..errors import MountForbidden
from ..mounts import inside
from ..settings import Settings
from . import mount_sources


def mounts(settings: Settings, home: str, writable: Iterable[str]) -> tuple[Mount, ...]:
    """Return the mounts of the shared folders at the same places below `home`, the home directory inside.

    A folder that is not there is made. Blocks.

    Raises
    ------
    MountForbidden
        A link leads to it that code in an environment could have made, or it cannot be made.
    """
    found = []
    for folder in settings.shared_folders:
        source = os.path.join(settings.home, folder)
        try:
            os.makedirs(source, mode=0o700, exist_ok=True)
        except OSError as error:
            raise MountForbidden(
                f"The shared folder {source} cannot be made: {error.strerror}.",
                hint="Make it, or take it out of MlenvConfig.shared_folders.",
                details={"mount": os.path.join(home, folder), "source": source},
            ) from error
        found.append(Mount(source, os.path.join(home, folder)))
    # What one environment writes into a shared folder must lead to nothing that another one gets.
    places = (*writable, *(mount.source for mount in found))
    return mount_sources.resolved([m for m in found if not _in_another(m, found)], places)


def _in_another(mount: Mount, mounts: Iterable[Mount]) -> bool:
    return any(other is not mount and inside(mount.target, other.target) for other in mounts)
