"""The files of a container before it starts: the person, a home directory with a few settings, the agent. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from ..container_layout import AGENT_PACKAGE, RUN_DIR
from ..engines.model import FileEntry
from ..settings import Settings
from . import package_index

STARTUP = ".ipython/profile_default/startup/00-mlenv.py"
"""The file that every IPython of the home directory runs first. It watches for `%pip install`."""

OTHER_HOME = "/home/jupyter-mlenv"
"""The home directory inside where the usual one is the project itself, or lies in it."""


def home(settings: Settings, workspace: str) -> str:
    """The person's home directory inside a container; never in the project, where our files would stay."""
    usual = "/root" if settings.uid == 0 else f"/home/{settings.username}"
    return OTHER_HOME if f"{usual}/".startswith(f"{workspace.rstrip('/')}/") else usual


def files(
    settings: Settings,
    note: Mapping[str, str],
    workspace: str,
    agent: Sequence[FileEntry],
    ca_bundle: bytes | None,
    *,
    shared: bool,
) -> tuple[FileEntry, ...]:
    """Return all files but those of the preset `host`.

    Parameters
    ----------
    note
        What is said to a person who installs packages in the environment.
    workspace
        The project folder, which is mounted at its own path.
    agent
        The agent's own files.
    ca_bundle
        The certificates that programs inside trust; None for those of the image.
    shared
        Whether the run directory is one of the engine's host.
    """
    uid, gid = settings.uid, settings.gid
    place = home(settings, workspace)
    startup = next(entry.data or b"" for entry in agent if entry.path == f"{AGENT_PACKAGE}/ipython/startup.py")
    entries = [
        *_person(settings, place),
        FileEntry(place, None, 0o700, uid, gid),
        *_quiet_lab(place, uid, gid),
        *_below(place, STARTUP, startup, uid, gid),
        *package_index.home_files(settings, place),
        *agent,
        FileEntry(f"{AGENT_PACKAGE}/ipython/keep.json", json.dumps(note).encode()),
    ]
    if ca_bundle is not None:
        entries.append(FileEntry(package_index.CA_PATH, ca_bundle))
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
