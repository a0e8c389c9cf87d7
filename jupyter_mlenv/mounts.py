"""The policy of mounts, one for presets, REST, command line and recreate. Pure.

Before a container starts, the engine writes files into it as root, and it writes through whatever is mounted there by
then. So nothing that we put in may lie below a mount.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from .container_layout import AGENT_FOLDER, RUN_DIR
from .engines.model import Mount
from .errors import MountForbidden, WorkspaceForbidden

_OURS = (RUN_DIR, AGENT_FOLDER)
_SYSTEM = ("/etc", "/usr", "/proc", "/sys", "/dev", "/boot", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SHARED = ("/", "/home", "/media", "/mnt", "/opt", "/run", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp")  # noqa: S108
"""Folders of everybody: no person's home."""

_LINKS = {"/var/run": "/run", "/var/lock": "/run/lock"}
"""Links that nearly every image has: a mount at the one is a mount at the other."""


def clean(path: str) -> str:
    """An absolute path without doubled slashes, also in front, and without `.` and `..`."""
    return "/" + posixpath.normpath("/" + path).strip("/")


def normal(target: str) -> str:
    """A target in the one form that is compared: clean, and where the links of images lead."""
    path = clean(target)
    for link, place in _LINKS.items():
        if inside(path, link):
            return place + path[len(link) :]
    return path


def inside(path: str, folder: str) -> bool:
    """Return whether a path is this folder or lies in it; both are absolute and clean."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def confine(mount: Mount, source: str, folders: Sequence[str]) -> None:
    """Confine a mount of a request to where workspaces may be; no folders: everywhere.

    Parameters
    ----------
    source, folders
        The path that the mount's source leads to, and the allowed workspaces, all without links.

    Raises
    ------
    WorkspaceForbidden
        `details["mount"]` is the target.
    """
    if folders and not any(inside(source, folder) for folder in folders):
        raise WorkspaceForbidden(
            f"{mount.source} cannot be mounted: it is outside of the allowed workspaces.",
            hint=f"Allowed are paths in {', '.join(folders)}.",
            details={"mount": mount.target, "source": mount.source},
        )


def refusal(target: str, home: str = "") -> str:
    """Return why nothing may be mounted at this target, as the end of a sentence; empty if something may.

    Parameters
    ----------
    home
        The person's home directory inside the container, where it is known.
    """
    if not target.startswith("/") or any(ord(letter) < 32 or ord(letter) == 127 for letter in target):
        return "it is not an absolute path in plain characters"
    path = normal(target)
    for place in (*_OURS, *_SYSTEM):
        if inside(path, place) or inside(place, path):
            return f"the container needs {place} itself"
    if home and inside(home, path):
        return f"the home directory in the container, {home}, would lie in it"
    return ""


def can_be_home(path: str) -> bool:
    """Return whether a container can have a home directory at this path of the machine around it."""
    if not path.startswith("/") or path in _SHARED:
        return False
    return not any(inside(path, p) or inside(p, path) for p in ("/nonexistent", *_OURS, *_SYSTEM))


def check(mounts: Sequence[Mount], workspace: str, files: Iterable[str], home: str, own: Sequence[Mount] = ()) -> None:
    """Check what a container will have mounted, beside the run directory and what the host lends.

    Parameters
    ----------
    mounts
        What preset and request ask for.
    workspace
        The project folder, which is mounted at its own path.
    files
        The paths of everything that is put into the container before it starts.
    home
        The person's home directory inside the container.
    own
        What is mounted without being asked for in a start, such as shared folders.

    Raises
    ------
    MountForbidden
        `details["mount"]` is the target.
    """
    for mount in mounts:
        if reason := refusal(mount.target, home):
            raise _forbidden(mount, reason, "Choose another target, for example one below /mnt.")
    project = Mount(workspace, workspace)
    put = [normal(path) for path in files]
    for mount in (project, *own, *mounts):
        place = normal(mount.target)
        if covered := next((path for path in put if inside(path, place)), ""):
            reason = f"{covered} is put into every container before it starts, and would be written there"
            ours = "Take it out of MlenvConfig.shared_folders."
            raise _forbidden(mount, reason, ours if mount in own else "Choose another folder.")
        if any(inside(place, ours) for ours in _OURS):
            raise _forbidden(mount, "the container needs that place itself", "Choose another folder.")
    for mount in mounts:
        place = normal(mount.target)
        if place == normal(workspace) and clean(mount.source) != place:
            raise _forbidden(mount, "the project is mounted there", "Choose another target.")
        for outer in (project, *mounts):
            if outer is mount or outer.read_only or not inside(place, normal(outer.target)):
                continue
            rest = place[len(normal(outer.target)) :]
            if place != normal(outer.target) and clean(mount.source) != clean(outer.source + rest):
                reason = f"that lies in {outer.target}, where code in the container could swap it for a link"
                raise _forbidden(mount, reason, "Choose a target outside of it, for example one below /mnt.")


def _forbidden(mount: Mount, reason: str, hint: str) -> MountForbidden:
    return MountForbidden(
        f"{mount.source} cannot be mounted at {mount.target}: {reason}.",
        hint=hint,
        details={"mount": mount.target, "source": mount.source},
    )
