"""Folder -> workspace: the one place that decides which folder is mounted, for launcher, command line and kernels."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .errors import WorkspaceForbidden, WorkspaceNotFound
from .mounts import inside
from .settings import Settings

ROOTS = ("mlenv.toml", ".git", ".hg")
"""Names of files that make a folder the root of a project, whatever lies below it."""

MARKERS = (
    *ROOTS,
    "pyproject.toml",
    "requirements.txt",
    "environment.yml",
    "environment.yaml",
    "setup.py",
    "setup.cfg",
    "uv.lock",
    "poetry.lock",
    "Pipfile",
    "Dockerfile",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    ".devcontainer",
    ".devcontainer.json",
    "apt.txt",
    "pixi.toml",
)
"""Names of files that make a folder a project."""

_SYSTEM = ("/etc", "/usr", "/proc", "/run", "/var/run", "/dev", "/boot", "/sys", "/bin", "/sbin", "/lib", "/lib64")
_SYSTEM_ITSELF = ("/", "/home", "/var", "/root", "/opt", "/tmp", "/mnt", "/media")  # noqa: S108 - below them is fine
KEYS = (".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", ".jupyter", ".password-store")


def find(folder: str, settings: Settings, running: Sequence[str] = ()) -> str:
    """The workspace that a folder belongs to, as an absolute path without links.

    In this order: the innermost of `running` (workspaces of running environments) that contains the folder; the nearest
    ancestor that is a repository or has an `mlenv.toml`, since code in a repository reaches for what lies beside it;
    the nearest one with another project marker; the folder itself. An ancestor that may not be a workspace ends the
    search.

    Raises
    ------
    WorkspaceNotFound, WorkspaceForbidden
        As `check` does.
    """
    start = check(folder, settings)
    there = [path for path in map(os.path.realpath, running) if inside(start, path) and not _refusal(path, settings)]
    if there:
        return max(there, key=len)
    return _project(start, settings)


def _project(start: str, settings: Settings) -> str:
    path, nearest = start, ""
    while not _refusal(path, settings):
        found = {marker for marker in MARKERS if os.path.lexists(os.path.join(path, marker))}
        if found & set(ROOTS):
            return path
        nearest = nearest or (path if found else "")
        path = os.path.dirname(path)
    return nearest or start


def check(path: str, settings: Settings) -> str:
    """An explicitly chosen workspace as an absolute path without links.

    Raises
    ------
    WorkspaceNotFound
        It does not exist or is no folder.
    WorkspaceForbidden
        It leads out of `allowed_workspaces` or the root directory (also through a link or `..`), is the home directory,
        or belongs to the system.
    """
    if "\0" in path:
        raise WorkspaceNotFound("A path cannot contain a NUL character.", details={"workspace": path})
    real = resolved(os.path.expanduser(path))
    try:
        real.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(real).decode("utf-8", "backslashreplace")
        raise WorkspaceForbidden(
            f"{shown} cannot be a workspace: its path is no UTF-8, and container engines know no other paths.",
            hint="Rename the folder that has a backslash and two digits here. Names inside the project may be any.",
            details={"workspace": shown},
        ) from error
    details = {"workspace": real}
    refusal = _refusal(real, settings)
    if refusal:
        # Whether a forbidden path exists is nobody's business.
        via = f" ({path} leads there)" if os.path.abspath(os.path.expanduser(path)) != real else ""
        message, hint = refusal
        raise WorkspaceForbidden(f"{real}{via} cannot be a workspace: {message}.", hint=hint, details=details)
    if not os.path.exists(real):
        raise WorkspaceNotFound(f"The folder {real} does not exist.", hint="Make it first.", details=details)
    if not os.path.isdir(real):
        raise WorkspaceNotFound(
            f"{real} is a file.", hint=f"The folder it is in is {os.path.dirname(real)}.", details=details
        )
    if not os.access(real, os.R_OK | os.X_OK):
        raise WorkspaceForbidden(
            f"{real} cannot be a workspace: you may not read it.", hint="Choose another folder.", details=details
        )
    return real


def resolved(path: str) -> str:
    """The path without links. Raises WorkspaceForbidden if one on the way may not be read, such as `/proc/1/root`."""
    try:
        return os.path.realpath(path)
    except OSError as error:
        raise WorkspaceForbidden(
            f"{path} cannot be used: {error.strerror or error}.",
            hint="Choose another folder.",
            details={"workspace": path},
        ) from error


def refusal(path: str, settings: Settings) -> str:
    """Return why a folder, without links in its path, may not be a workspace, as the end of a sentence; else empty."""
    found = _refusal(path, settings)
    return found[0] if found else ""


def logdir(workspace: str) -> str:
    """Return TensorBoard's folder: `runs/` in the workspace if it is there, else `logs/` if that is, else `runs/`."""
    for name in ("runs", "logs"):
        path = os.path.join(workspace, name)
        if os.path.isdir(path):
            return path
    return os.path.join(workspace, "runs")


def _refusal(path: str, settings: Settings) -> tuple[str, str] | None:
    """Return why this real path may not be a workspace, and what to do; None if it may."""
    home = os.path.realpath(os.path.expanduser("~"))
    project = "Make a folder for the project and start there."
    if path == home and not settings.allow_home:
        return "it is the home directory, which holds keys and passwords", f"{project} (Or set allow_home.)"
    if path != home and inside(home, path):
        return "it contains the home directory", project
    allowed = [os.path.realpath(os.path.expanduser(folder)) for folder in settings.allowed_workspaces]
    if allowed:
        if not any(inside(path, folder) for folder in allowed):
            return "it is outside of the allowed workspaces", f"Allowed are folders in {', '.join(allowed)}."
    elif settings.root_dir and not inside(path, os.path.realpath(settings.root_dir)):
        return "it is outside of the server's root directory", f"Choose a folder in {settings.root_dir}."
    elif (path in _SYSTEM_ITSELF and path != home) or any(inside(path, system) for system in _SYSTEM):
        return "it belongs to the system", project
    elif any(inside(path, os.path.join(home, name)) for name in KEYS):
        return "it holds keys or settings", project
    run_root = os.path.realpath(settings.run_root)
    if settings.run_root and (inside(run_root, path) or inside(path, run_root)):
        return "it holds the run directories of environments", project
    return None
