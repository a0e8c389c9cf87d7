"""The run directory of an environment on the host: agent socket, service sockets, token. 0700, and ours."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DiskFull, MlenvError

TOKEN_BYTES = 32
"""Entropy of an agent token, in bytes."""


def new_token() -> str:
    """A fresh bearer token for an agent."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def prepare(run_root: str, run_dir: str) -> None:
    """Make the run directory ready for a start: private, and with a token.

    What is there is kept: another process may be using it at this moment. Raises MlenvError if the directory or its
    parent belongs to somebody else or cannot be made, or if `run_dir` is not directly below `run_root`; DiskFull.
    """
    root, path = Path(run_root), Path(run_dir)
    _check_place(root, path)
    there = path.is_dir()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
        for directory in (root, path):
            _check_private(directory)
        if not (path / "token").exists():
            _write_token(path)
    except OSError as error:
        if not there:
            remove(run_root, run_dir)
        raise _cannot(path, error) from error


@contextmanager
def at_work(run_dir: str) -> Iterator[None]:
    """Mark the directory as worked on, by a lock that goes with this process however it ends; see `abandoned`."""
    with _opened(run_dir) as descriptor:
        if descriptor is not None:
            _lock(descriptor, fcntl.LOCK_SH)
        yield


def abandoned(run_dir: str) -> bool:
    """Whether certainly nobody works on it; false also where the file system does not tell (NFS)."""
    with _opened(run_dir) as descriptor:
        return descriptor is not None and _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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


def _write_token(path: Path) -> None:
    """Written aside and linked, so that of two processes one wins and nobody ever reads half a token."""
    aside = path / f".token-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_token())
        os.link(aside, path / "token")
    except FileExistsError:
        pass
    finally:
        aside.unlink(missing_ok=True)


def _cannot(path: Path, error: OSError) -> MlenvError:
    message = f"The run directory {path} cannot be made: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(message, hint="Free some space there, or choose another place with --MlenvConfig.run_root.")
    return MlenvError(message, hint="Choose another place with --MlenvConfig.run_root.")


@contextmanager
def _opened(run_dir: str) -> Iterator[int | None]:
    try:
        descriptor = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


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
