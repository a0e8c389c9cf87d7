"""One process at a time changes an environment's container: a file lock for each id, let go of with the process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..errors import EnvironmentBusy
from ..planning.model import run_directory_of

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.005, 0.05
"""The time between two attempts to get a lock that another process holds."""


class Locks:
    """The locks of one process on the environments below a run root. Waiting holds up nothing and can be cancelled.

    Inside the process an `asyncio.Lock` keeps the order; it is forgotten when nobody wants it any more.
    """

    def __init__(self, run_root: str) -> None:
        self._run_root = run_root
        self._local: dict[str, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._local)

    @asynccontextmanager
    async def held(self, id: str, patience: float) -> AsyncIterator[bool]:
        """Hold the lock of this environment; whether it also holds against other processes.

        Raises
        ------
        EnvironmentBusy
            Another process did not let go of it within `patience` seconds.
        """
        lock, users = self._local.get(id, (asyncio.Lock(), 0))
        self._local[id] = lock, users + 1
        try:
            async with lock:
                path = Path(f"{run_directory_of(self._run_root, id)}.lock")
                descriptor = await self._locked(path, id, patience)
                try:
                    yield descriptor is not None
                finally:
                    if descriptor is not None:
                        _unlock(path, descriptor)
        finally:
            lock, users = self._local.pop(id)
            if users > 1:
                self._local[id] = lock, users - 1

    async def _locked(self, path: Path, id: str, patience: float) -> int | None:
        deadline, pause = time.monotonic() + patience, FIRST_PAUSE_SECONDS
        while True:
            try:
                return _try(path)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EnvironmentBusy(
                        f"Another process has been working on the environment {id} for {patience:.0f} s.",
                        hint="Wait for it, or end it: another Jupyter server or `jupyter mlenv` command.",
                        details={"environment": id},
                    ) from None
            except OSError:  # no locks there, a full disk: what a start needs fails by itself, and a stop has to work
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE_SECONDS)


def _try(path: Path) -> int:
    """The descriptor of the locked file. Raises BlockingIOError while somebody else has it, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it has removed the file meanwhile


def _same(path: Path, descriptor: int) -> bool:
    try:
        there, mine = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _unlock(path: Path, descriptor: int) -> None:
    """Remove the file while it is locked: whoever waits for it sees that, and makes another."""
    try:
        if _same(path, descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)
