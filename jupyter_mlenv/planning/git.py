"""Git on this machine: the person's name and e-mail, and where a project's history lies."""

from __future__ import annotations

import os
import stat
import subprocess

from .. import workspaces
from ..mounts import inside
from ..settings import Settings

MAX_LINE_BYTES = 8192
"""Bytes of a file with one path; Linux allows paths of 4,096."""

SECONDS = 5.0
"""Seconds that git may take; it reads a few small files."""

OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")
"""Variables that git sets for its hooks, and by which it would look into another repository."""

USER = r"^user\.(name|email)$"


def identity(workspace: str) -> tuple[str, str]:
    """Return the name and e-mail that a commit in this folder would have; empty where git knows none. Blocks.

    git itself is asked, since its settings include others, also by folder. To read them runs nothing.
    """
    values = _settings(["-C", workspace, "config", "--includes"], USER)
    if values is None:  # a repository that git does not trust, as one of somebody else
        values = _settings(["config", "--global", "--includes"], USER) or {}
    return values.get("user.name", ""), values.get("user.email", "")


def _settings(command: list[str], pattern: str) -> dict[str, str] | None:
    try:
        run = subprocess.run(
            ["git", *command, "--null", "--get-regexp", pattern],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in OF_A_HOOK},
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    if run.returncode not in (0, 1):  # 1: there is none
        return None
    pairs = (entry.partition("\n") for entry in os.fsdecode(run.stdout).split("\0"))
    return {name.lower(): value.replace("\n", " ") for name, _, value in pairs if value}


def directory(workspace: str, settings: Settings) -> tuple[str, str]:
    """The git directory that a workspace needs and that lies outside of it, as that of a worktree or a submodule does.

    A `.git` file may come with what somebody has downloaded, and code in an environment can write one. So the directory
    has to lead back here itself, by words in files that only who may write there could have put.

    Returns
    -------
    directory
        Its absolute path without links; empty if there is none, or it may not be mounted.
    note
        A sentence for the person why git will not work; empty if there is nothing to say.
    """
    link = os.path.join(workspace, ".git")
    said = _line(link) if os.path.isfile(link) and not os.path.islink(link) else ""
    if not said.startswith("gitdir: "):
        return "", ""
    own = os.path.realpath(os.path.join(workspace, said[len("gitdir: ") :]))
    if inside(own, workspace):
        return "", ""
    common, leads_back = _common(own, link)
    reason = ""
    if not _is_repository(common):
        reason = "is no git directory"
    elif not leads_back:
        reason = "does not lead back to this folder (see `git worktree repair`)"
    elif refusal := workspaces.refusal(common, settings):
        reason = f"cannot be used: {refusal}"
    if not reason:
        return common, ""
    return "", f"git will not work in there: {link} leads to {common}, which {reason}."


def _common(own: str, link: str) -> tuple[str, bool]:
    """Return the directory that holds all of the repository, and whether it names this `.git` file itself."""
    if shared := _line(os.path.join(own, "commondir")):  # a worktree: gitrepository-layout(5)
        common = os.path.realpath(os.path.join(own, shared))
        back = _line(os.path.join(own, "gitdir"))
        return common, inside(own, common) and bool(back) and os.path.realpath(os.path.join(own, back)) == link
    tree = _settings(["config", "--file", os.path.join(own, "config")], "core.worktree") or {}
    back = os.path.join(own, tree.get("core.worktree", ""))
    return own, os.path.realpath(os.path.join(back, ".git")) == link


def _is_repository(path: str) -> bool:
    folders = ("objects", "refs")
    return os.path.isfile(f"{path}/HEAD") and all(os.path.isdir(f"{path}/{name}") for name in folders)


def _line(path: str) -> str:
    """The first line of a small regular file; empty if there is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(MAX_LINE_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return ""
    return os.fsdecode(data.split(b"\n")[0].rstrip())
