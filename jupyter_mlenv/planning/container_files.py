"""What lies in a container before it starts: the person, a home directory with a few settings, and the agent."""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
from collections.abc import Mapping

from .. import agent
from ..container_layout import AGENT_FOLDER, AGENT_PACKAGE, AGENT_START, RUN_DIR
from ..engines.model import FileEntry
from ..settings import Settings
from . import host_python, package_index

STARTUP = ".ipython/profile_default/startup/00-mlenv.py"
"""The file that every IPython of the home directory runs first. It watches for `%pip install`."""

OTHER_HOME = "/home/jupyter-mlenv"
"""The home directory inside where the usual one is the project itself, or lies in it."""


def home(settings: Settings, workspace: str) -> str:
    """The person's home directory inside a container; never in the project, where our files would stay."""
    usual = "/root" if settings.uid == 0 else f"/home/{settings.username}"
    return OTHER_HOME if f"{usual}/".startswith(f"{workspace.rstrip('/')}/") else usual


def files(settings: Settings, note: Mapping[str, str], workspace: str, *, shared: bool) -> tuple[FileEntry, ...]:
    """Return all files. Raises MlenvError if the CA bundle cannot be read.

    Parameters
    ----------
    note
        What is said to a person who installs packages in the environment.
    workspace
        The project folder, which is mounted at its own path.
    shared
        Whether the run directory is one of the engine's host.
    """
    uid, gid = settings.uid, settings.gid
    place = home(settings, workspace)
    entries = [
        *_person(settings, place),
        FileEntry(place, None, 0o700, uid, gid),
        *_quiet_lab(place, uid, gid),
        *_below(place, STARTUP, _package()["ipython/startup.py"], uid, gid),
        *package_index.home_files(settings, place),
        *agent_files(),
        FileEntry(f"{AGENT_PACKAGE}/ipython/keep.json", json.dumps(note).encode()),
    ]
    if package_index.variables(settings):
        entries.append(FileEntry(package_index.CA_PATH, host_python.ca_bundle(settings)))
    if not shared:
        entries.append(FileEntry(RUN_DIR, None, 0o700, uid, gid))
    return tuple(entries)


def _person(settings: Settings, home: str) -> list[FileEntry]:
    uid, gid = settings.uid, settings.gid
    root = home if uid == 0 else "/root"
    users = [f"root:x:0:0:root:{root}:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/bin/sh"]
    groups = ["root:x:0:", "nogroup:x:65534:"]
    if uid not in (0, 65534):
        users.append(f"{settings.username}:x:{uid}:{gid}:{settings.username}:{home}:/bin/sh")
    if gid not in (0, 65534):
        groups.append(f"{settings.username}:x:{gid}:")
    return [
        FileEntry("/etc/passwd", "".join(f"{user}\n" for user in users).encode()),
        FileEntry("/etc/group", "".join(f"{group}\n" for group in groups).encode()),
    ]


def _quiet_lab(home: str, uid: int, gid: int) -> list[FileEntry]:
    """The setting by which a JupyterLab does not ask whether it may fetch news: the outer one has asked already."""
    path = ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    return _below(home, path, json.dumps({"fetchNews": "false"}).encode(), uid, gid)


def _below(home: str, path: str, data: bytes, uid: int, gid: int) -> list[FileEntry]:
    """A file of the person's below the home directory, with the folders that lead to it."""
    entries, folder = [], home
    for name in path.split("/")[:-1]:
        folder = os.path.join(folder, name)
        entries.append(FileEntry(folder, None, 0o700, uid, gid))
    return [*entries, FileEntry(os.path.join(home, path), data, 0o600, uid, gid)]


def agent_files() -> list[FileEntry]:
    """Return the agent: what starts it, and its package with all modules."""
    package = _package()
    folders = sorted({AGENT_FOLDER, AGENT_PACKAGE, *(os.path.dirname(f"{AGENT_PACKAGE}/{name}") for name in package)})
    return [
        *(FileEntry(folder, None, 0o755) for folder in folders),
        FileEntry(AGENT_START, package["start.py"], 0o644),
        *(FileEntry(f"{AGENT_PACKAGE}/{name}", data, 0o644) for name, data in package.items()),
    ]


@functools.cache
def _package() -> Mapping[str, bytes]:
    """The modules of the agent's package by their path in it."""
    found: dict[str, bytes] = {}
    pending = [("", importlib.resources.files(agent))]
    while pending:
        path, entry = pending.pop()
        if entry.is_dir():
            pending += [(f"{path}/{inner.name}".lstrip("/"), inner) for inner in entry.iterdir()]
        elif path.endswith(".py"):
            found[path] = entry.read_bytes()
    return dict(sorted(found.items()))
