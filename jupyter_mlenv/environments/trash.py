"""Removal of things from a run root: out of the way at once, deleted whatever it is, without a link being followed.

A directory that a container could write may hold any number of files, folders nested thousands deep, and folders that
nobody may read. It is renamed first, so that nothing finds it again, and deleted by descriptors: a folder in a folder
is moved up instead of entered, so neither depth nor number costs descriptors or memory.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

PREFIX = ".trash-"
"""The beginning of the names of things that are to be deleted."""

O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)


def discard(root: str, path: str) -> bool:
    """Move `path`, which is below `root`, out of the way; false if it is not there. Raises OSError."""
    try:
        os.rename(path, f"{root}/{PREFIX}{secrets.token_hex(8)}")
    except FileNotFoundError:
        return False
    return True


def empty(root: str) -> None:
    """Delete what was discarded below `root`; what cannot be deleted stays for the next time. Takes its time."""
    try:
        pool = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        failed: set[str] = set()
        while names := [name for name in os.listdir(pool) if name.startswith(PREFIX) and name not in failed]:
            failed.update(name for name in names if not _delete(pool, name))
    finally:
        os.close(pool)


def _delete(pool: int, name: str) -> bool:
    """Delete one thing in the pool; what is nested in it comes into the pool instead. Whether it is gone."""
    with suppress(OSError):
        os.unlink(name, dir_fd=pool)
        return True
    with suppress(OSError):
        folder = _open(pool, name)
        try:
            while _clear(folder, pool):
                pass
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=pool)
    try:
        os.stat(name, dir_fd=pool, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _clear(folder: int, pool: int) -> bool:
    """Empty a folder of what a look at it shows; whether anything was there that could be taken away."""
    done = False
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    _may_change(folder, entry.name)
                    os.rename(entry.name, PREFIX + secrets.token_hex(8), src_dir_fd=folder, dst_dir_fd=pool)
                else:
                    os.unlink(entry.name, dir_fd=folder)
                done = True
    return done


def _open(pool: int, name: str) -> int:
    _may_change(pool, name)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pool)


def _may_change(folder: int, name: str) -> None:
    """A folder that its owner had closed for everybody is opened again. Raises OSError."""
    descriptor = os.open(name, O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)
