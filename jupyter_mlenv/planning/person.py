"""The person inside a container: user, groups, home directory, git's name and e-mail. Pure."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterable

from .. import mounts
from ..container_layout import ZONES
from ..engines.base import EngineFacts
from ..engines.model import FileEntry, Mount
from ..errors import EngineUnsupported
from ..settings import Settings
from .model import Zone

OTHER_HOME = "/home/jupyter-mlenv"
"""The home directory inside where no other one can be: the usual one is the project itself, or lies in it."""

PROFILE = """# A terminal of JupyterLab is a login shell: /etc/profile has set PATH anew just now.
if [ -n "$MLENV_PATH" ]; then PATH=$MLENV_PATH; export PATH; fi
"""


def inside(settings: Settings, facts: EngineFacts) -> Settings:
    """Return the settings with the user and group id that the person has in containers of this engine.

    A rootless engine runs in a user namespace in which the person who started it is root: files of root in there are
    the person's out here, and those of any other user are nobody's; unless it keeps users (Podman's `keep-id`). The
    person's other groups do not exist in there.

    Raises
    ------
    EngineUnsupported
        No user of its containers is the person.
    """
    if facts.user_map:
        raise EngineUnsupported(
            f"The engine at {facts.url} maps the users of containers to others (`userns-remap`), so nobody in an "
            "environment could read or write your files.",
            hint="Use a rootless engine, or take userns-remap out of the engine's daemon.json. Nothing was started.",
        )
    if not facts.rootless:
        return settings
    inside = dataclasses.replace(settings, groups=())
    return inside if facts.keeps_users else dataclasses.replace(inside, uid=0, gid=0)


def home(settings: Settings, workspace: str, asked: Iterable[Mount] = ()) -> str:
    """The person's home directory inside a container: where it is on this machine, so that `~/data` is one path.

    It is never in the project, nor in another folder that is mounted, where our files would stay; nor where a container
    keeps what it needs.
    """
    usual = "/root" if settings.uid == 0 else f"/home/{settings.username}"
    real = settings.home
    taken = [workspace, *(mount.target for mount in asked)]
    if mounts.can_be_home(real) and not any(mounts.inside(real, mounts.normal(target)) for target in taken):
        return real
    return OTHER_HOME if mounts.inside(usual, workspace) else usual


def files(settings: Settings, place: str, targets: Iterable[str], git: tuple[str, str]) -> list[FileEntry]:
    """Return the files that make the person known, and the home directory.

    Parameters
    ----------
    place
        The home directory inside.
    targets
        Where something is mounted. The folders of the home directory on the way there are the person's; an engine
        makes them as root's.
    git
        The person's name and e-mail for git; empty where there is none.
    """
    folder = [FileEntry(place, None, 0o700, settings.uid, settings.gid)]
    shell = below(settings, place, ".profile", PROFILE.encode())
    parents = _parents(settings, place, targets)
    return [*_accounts(settings, place), *folder, *shell, *parents, *_git(settings, place, git)]


def below(settings: Settings, place: str, path: str, data: bytes) -> list[FileEntry]:
    """A file of the person's below the home directory `place`, with the folders that lead to it."""
    entries, folder = [], place
    for name in path.split("/")[:-1]:
        folder = posixpath.join(folder, name)
        entries.append(FileEntry(folder, None, 0o700, settings.uid, settings.gid))
    return [*entries, FileEntry(posixpath.join(place, path), data, 0o600, settings.uid, settings.gid)]


def varies(path: str) -> bool:
    """Return whether a file's content differs between two shells of the same person."""
    return path == "/etc/group" or path.endswith("/.gitconfig") or mounts.inside(path, ZONES)


def zone_files(zone: Zone) -> list[FileEntry]:
    """The time zone as a file of the container. An image that has the database finds the same there."""
    path = posixpath.join(ZONES, zone.name)
    folders = [posixpath.dirname(path)]
    while folders[0] != ZONES:
        folders.insert(0, posixpath.dirname(folders[0]))
    return [*(FileEntry(folder, None, 0o755) for folder in folders), FileEntry(path, zone.data)]


def _accounts(settings: Settings, place: str) -> list[FileEntry]:
    uid, gid, name = settings.uid, settings.gid, settings.username
    root = place if uid == 0 else "/root"
    users = [f"root:x:0:0:root:{root}:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/bin/sh"]
    groups = ["root:x:0:", "nogroup:x:65534:"]
    if uid not in (0, 65534):
        users.append(f"{name}:x:{uid}:{gid}:{name}:{place}:/bin/sh")
    if gid not in (0, 65534):
        groups.append(f"{name}:x:{gid}:")
    others = [(number, group) for number, group in settings.groups if number not in (0, 65534, gid)]
    groups += [f"{_plain(group, number)}:x:{number}:{name}" for number, group in others]
    return [
        FileEntry("/etc/passwd", "".join(f"{user}\n" for user in users).encode()),
        FileEntry("/etc/group", "".join(f"{group}\n" for group in groups).encode()),
    ]


def _plain(group: str, number: int) -> str:
    """The name of a group as `/etc/group` can hold it; several directories of users have odd ones."""
    return group if re.fullmatch(r"[^\s:,]+", group) else f"group{number}"


def _parents(settings: Settings, place: str, targets: Iterable[str]) -> list[FileEntry]:
    mounted = [mounts.normal(target) for target in targets]
    folders: dict[str, None] = {}
    for target in mounted:
        parent, found = posixpath.dirname(target), []
        while parent != place and mounts.inside(parent, place):
            found.append(parent)
            parent = posixpath.dirname(parent)
        folders.update(dict.fromkeys(reversed(found)))
    return [
        FileEntry(folder, None, 0o700, settings.uid, settings.gid)
        for folder in folders
        if not any(mounts.inside(folder, target) for target in mounted)
    ]


def _git(settings: Settings, place: str, git: tuple[str, str]) -> list[FileEntry]:
    known = [(key, value) for key, value in zip(("name", "email"), git, strict=True) if value]
    if not known:
        return []
    lines = "".join(f"\t{key} = {_quoted(value)}\n" for key, value in known)
    return below(settings, place, ".gitconfig", f"[user]\n{lines}".encode("utf-8", "surrogateescape"))


def _quoted(value: str) -> str:
    """A value as git's configuration files have it (git-config(1), "Syntax")."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
