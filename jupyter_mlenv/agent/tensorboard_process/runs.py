"""The folders of a project that TensorBoard can read, gathered in one: found within bounds, again and again.

TensorBoard looks into one folder, and walks all of it every few seconds; trainings write to `runs/`, `lightning_logs/`,
`outputs/<date>/` and other places. So it gets a folder of links to what is found, by paths as in the project. Python >=
3.8, standard library only.
"""

from __future__ import annotations

import os
import stat
import time

MARK = "tfevents"
"""A part of the names of TensorBoard's files (`events.out.tfevents.…`)."""

MAX_DEPTH = 8
"""Folders in one another that are looked at."""

MAX_FOLDERS = 20_000
"""Folders that are looked at each time, whatever a project holds."""

MAX_ENTRIES = 100_000
"""Names that are read of one folder."""

SETTLED_SECONDS = 3.0
"""Seconds after which a folder's time of change is proof that nothing changes unseen; file systems count coarsely."""

USUAL = "runs/"
"""Where most trainings write to."""

FOREIGN = ("node_modules", "site-packages", "__pycache__")
"""Names of folders that hold no runs; those that begin with a dot are left out too."""


class Folder:
    """A folder as it was last read: its folders, and its files of TensorBoard."""

    def __init__(self, changed: int, folders: list[str], events: list[str], settled: bool) -> None:
        self.changed, self.folders, self.events, self.settled = changed, folders, events, settled


class Runs:
    """Links in `farm` to the runs below `project`."""

    def __init__(self, project: str, farm: str) -> None:
        self.project, self.farm = project, farm
        self.known: dict[str, Folder] = {}
        self.linked: dict[str, str] = {}

    def refresh(self) -> None:
        """Look for runs, and make the links what they should be. A link that cannot be made is tried again later."""
        wanted = named(self.find())
        for name in [name for name, target in self.linked.items() if wanted.get(name) != target]:
            remove(os.path.join(self.farm, name), self.farm)
            del self.linked[name]
        for name, target in wanted.items():
            if name not in self.linked and link(target, os.path.join(self.farm, name)):
                self.linked[name] = target

    def find(self) -> dict[str, str]:
        """Return the outermost folders with files of TensorBoard, by their paths in the project.

        Of the project's own folder the files themselves, since a link to it would lead to everything.
        """
        found: dict[str, str] = {}
        seen: set[tuple[int, int]] = set()
        known: dict[str, Folder] = {}
        pending = [("", 0)]
        while pending and len(known) < MAX_FOLDERS:
            name, depth = pending.pop(0)
            path = os.path.join(self.project, name) if name else self.project
            folder = self.read(path, seen)
            if folder is None:
                continue
            known[path] = folder
            if folder.events and name:
                found[name] = path
                continue
            for event in folder.events:
                found[event] = os.path.join(path, event)
            if depth < MAX_DEPTH:
                pending += [(os.path.join(name, inner), depth + 1) for inner in folder.folders]
        self.known = known
        return found

    def read(self, path: str, seen: set[tuple[int, int]]) -> Folder | None:
        """Return a folder as it is, from memory if it has not changed; None if it was here, or is none."""
        try:
            now = os.stat(path)
            if not stat.S_ISDIR(now.st_mode) or (now.st_dev, now.st_ino) in seen:
                return None
            seen.add((now.st_dev, now.st_ino))
            old = self.known.get(path)
            if old is not None and old.settled and old.changed == now.st_mtime_ns:
                return old
            settled = time.time() - now.st_mtime > SETTLED_SECONDS
            return Folder(now.st_mtime_ns, *entries(path), settled)
        except OSError:
            return None


def named(found: dict[str, str]) -> dict[str, str]:
    """The runs by what TensorBoard shows. `runs/first` is `first`, as for who looks into `runs/` alone.

    Where another one has that name, or lies above or below it, the whole path stays.
    """
    others = [name for name in found if not name.startswith(USUAL)]
    above = {place for name in others for place in places(name)}
    shown = {}
    for name, target in found.items():
        short = name[len(USUAL) :] if name.startswith(USUAL) else name
        clash = short != name and (short in above or short.startswith(USUAL) or not places(short).isdisjoint(others))
        shown[name if clash else short] = target
    return shown


def places(name: str) -> set[str]:
    """A relative path and all that it lies in."""
    words = name.split("/")
    return {"/".join(words[:number]) for number in range(1, len(words) + 1)}


def entries(path: str) -> tuple[list[str], list[str]]:
    """The folders and the files of TensorBoard in a folder; no folders of an environment of Python. Raises OSError."""
    folders, events = [], []
    with os.scandir(path) as found:
        for number, entry in enumerate(found):
            if number >= MAX_ENTRIES:
                break
            name = entry.name
            if MARK in name and entry.is_file():
                events.append(name)
            elif name in ("pyvenv.cfg", "conda-meta"):
                return [], []
            elif not name.startswith(".") and name not in FOREIGN and entry.is_dir():
                folders.append(name)
    return sorted(folders), sorted(events)


def link(target: str, path: str) -> bool:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    except OSError:
        return False
    return True


def remove(path: str, farm: str) -> None:
    """Remove a link, and the folders on the way to it that are empty then."""
    try:
        os.unlink(path)
        while (path := os.path.dirname(path)) != farm:
            os.rmdir(path)
    except OSError:
        pass
