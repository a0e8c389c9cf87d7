"""Links in a project that lead out of it, to what an environment does not see."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable

from ..mounts import inside
from ..serialization import toml_text

LEVELS = 2
"""Folders in one another that are looked at: links to data lie near the top."""

MAX_ENTRIES = 5000
"""Names that are looked at, whatever a project holds."""

MAX_NAMED = 5
"""Links that are named one by one."""


def notes(workspace: str, seen: Iterable[str], pause: Callable[[], None] = lambda: None) -> list[str]:
    """A sentence for each link of the top levels that leads to something outside of `seen`, with the mount for it.

    Nothing is mounted by itself, since a cloned repository may have brought the link.

    Parameters
    ----------
    seen
        Folders of this machine that the environment has at the same paths.
    pause
        Called now and then; what it raises ends the look.
    """
    places = [os.path.realpath(place) for place in (workspace, *seen)]
    found: list[str] = []
    for name, target in _leading_out(workspace, places, pause):
        if len(found) == MAX_NAMED:
            return [*found, "More links lead out of the project."]
        found.append(
            f"{name} leads to {target}, which the environment does not have. To mount it: `jupyter mlenv start` with "
            f"--mount {shlex.quote(target)}, or in the preset [[mounts]] with source = {toml_text(target)}."
        )
    return found


def _leading_out(workspace: str, places: list[str], pause: Callable[[], None]) -> Iterable[tuple[str, str]]:
    left, folders = MAX_ENTRIES, [(workspace, 1)]
    while folders:
        folder, level = folders.pop(0)
        for entry in _entries(folder, left):
            left -= 1
            pause()
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if os.path.exists(target) and not any(inside(target, place) for place in places):
                    yield os.path.relpath(entry.path, workspace), target
            elif level < LEVELS and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, level + 1))


def _entries(folder: str, limit: int) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(found) >= limit:
                    break
                found.append(entry)
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)
