"""The run directory of an environment on the host: agent socket, service sockets, token. 0700, and ours."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from .errors import MlenvError

TOKEN_BYTES = 32
"""Entropy of an agent token, in bytes."""


def new_token() -> str:
    """A fresh bearer token for an agent."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def prepare(run_root: str, run_dir: str) -> None:
    """Make the run directory ready for a start: private, and with a token.

    What is there is kept: another process may be using it at this moment. Raises MlenvError if the directory or its
    parent belongs to somebody else, or if `run_dir` is not directly below `run_root`.
    """
    root, path = Path(run_root), Path(run_dir)
    _check_place(root, path)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.mkdir(exist_ok=True, mode=0o700)
    for directory in (root, path):
        _check_private(directory)
    token = path / "token"
    if not token.exists():
        # Written aside and linked, so that of two processes one wins and nobody ever reads half a token.
        aside = path / f".token-{os.getpid()}-{secrets.token_hex(4)}"
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_token())
        try:
            os.link(aside, token)
        except FileExistsError:
            pass
        finally:
            aside.unlink()


def token(run_dir: str) -> str:
    """The agent's token. Raises MlenvError when the run directory is gone."""
    try:
        return Path(run_dir, "token").read_text().strip()
    except OSError as error:
        raise MlenvError(
            f"The run directory {run_dir} cannot be read: {error.strerror}.",
            hint="Restart the environment; that makes it anew.",
        ) from error


def remove(run_root: str, run_dir: str) -> None:
    """Remove a run directory; one that is not there is no error. Whatever is not below `run_root` is left alone."""
    root, path = Path(run_root), Path(run_dir)
    if path.parent == root and path.name not in ("", ".", "..") and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)


def _check_place(root: Path, path: Path) -> None:
    if not root.is_absolute() or path.parent != root or path.name in ("", ".", ".."):
        raise MlenvError(
            f"The environment's run directory {path} is not below {root}.",
            hint="It was made with another --MlenvConfig.run_root: use that one, or remove the environment.",
        )


def _check_private(directory: Path) -> None:
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise MlenvError(
            f"The run directory {directory} is not a directory of yours.",
            hint="Choose another with --MlenvConfig.run_root, or remove it.",
        )
    if info.st_mode & 0o077:
        directory.chmod(0o700)
