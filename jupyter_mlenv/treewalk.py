"""Files below a folder that somebody else may change meanwhile, opened by descriptors: no link leads out of the folder.

What runs in an environment can swap a folder of its workspace for a link at any moment, also between a check of a path
and its use. So nothing here is opened by a path of several parts: each part is opened in the descriptor of the one
before, without following links. A link is read and resolved by hand, and only as long as it stays below the root.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

MAX_TEXT_BYTES = 1 << 20
"""Bytes of a Dockerfile, a requirements file or a `.dockerignore`; those of large projects have 100,000."""

MAX_LINKS = 40
"""Links on the way to one file, as the kernel allows."""

MAX_DEPTH = 256
"""Folders in one another, each of which costs a descriptor while it is walked; `node_modules` reaches 30."""

ENTRIES_PER_LOOK = 256
"""Entries between two looks at the time."""

_PATH = getattr(os, "O_PATH", os.O_RDONLY)  # a folder on the way need not be readable
_STEP = _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class OutOfTime(Exception):
    """The budget is spent, or nobody waits for the result any more."""


class Budget:
    """The time that work on files may take: `seconds` of wall clock (`None`: for ever), or until `stop`.

    Calling it raises OutOfTime once that is over. Any thread may stop it.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped.set()

    def __call__(self) -> None:
        if self._stopped.is_set() or (self._end is not None and time.monotonic() > self._end):
            raise OutOfTime


def root_of(path: str, workspace: str) -> str:
    """The folder that reading `path` may not leave: the workspace if the path lies in it, else none (`/`)."""
    inside = workspace and (path == workspace or path.startswith(workspace.rstrip("/") + "/"))
    return workspace if inside else "/"


def read_text(root: str, path: str, limit: int = MAX_TEXT_BYTES) -> str:
    """The UTF-8 text of a regular file. Raises what `read_bytes` raises, and UnicodeDecodeError."""
    return read_bytes(root, path, limit).decode()


def read_bytes(root: str, path: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The content of a regular file below `root`, at most `limit` bytes.

    Parameters
    ----------
    root
        An absolute folder without links in its path; what has become one is refused.
    path
        Relative to `root`, or absolute below it.

    Raises
    ------
    OSError
        It is not there, no regular file, larger than `limit`, or a link leads out of `root`.
    """
    with opened(root, path, _FILE) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
        data = b""
        while len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
            data += piece
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
        return data


@contextmanager
def opened(root: str, path: str, flags: int = _LIST) -> Iterator[int]:
    """A descriptor of `path` below `root`, of a folder by default. Raises OSError as `read_bytes` does."""
    descriptor = _beneath(root, _relative(root, path), flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(folder: int, name: str) -> int:
    """A descriptor of the regular file `name` in the folder of a descriptor. Raises OSError, also for anything else."""
    descriptor = os.open(name, _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", name)
    return descriptor


@dataclass(frozen=True)
class Entry:
    """A file or folder of a walk; `path` is relative to its beginning. `folder` is open while the walk stands here."""

    path: str
    name: str
    folder: int
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)


Choice = Callable[[str, bool, Any], "tuple[bool, Any]"]
"""`(path, is it a folder, its folder's state) -> (is it wanted, its own state)`; a folder with state `None` is not
entered."""


def walk(top: int, choose: Choice, state: Any, *, pause: Callable[[], None], strict: bool = True) -> Iterator[Entry]:
    """Everything below the folder of a descriptor that `choose` wants, in the order of names, folders before what they
    hold. Links are entries and are not followed.

    `pause` is called every now and then and ends the walk by raising. What cannot be read, or has changed under our
    hands, raises OSError with the path as its `filename`, or is left out if not `strict`.
    """
    waiting = [(os.dup(top), "", state, _names(top, ""))]
    looked = 0
    try:
        while waiting:
            folder, prefix, above, names = waiting[-1]
            name = next(names, None)
            if name is None:
                os.close(waiting.pop()[0])
                continue
            looked += 1
            if looked % ENTRIES_PER_LOOK == 0:
                pause()
            path = f"{prefix}{name}"
            try:
                status = os.lstat(name, dir_fd=folder)
            except OSError as error:
                _complain(error, path, strict)
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            wanted, own = choose(path, is_folder, above)
            if wanted:
                yield Entry(path, name, folder, status)
            if is_folder and own is not None:
                if len(waiting) >= MAX_DEPTH:
                    raise OSError(errno.ENAMETOOLONG, f"more than {MAX_DEPTH} folders lie in one another", path)
                try:
                    inner = os.open(name, _LIST, dir_fd=folder)
                except OSError as error:
                    _complain(error, path, strict)
                    continue
                waiting.append((inner, f"{path}/", own, _names(inner, path)))
    finally:
        for folder, *_ in waiting:
            os.close(folder)


def _names(folder: int, path: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        error.filename = path
        raise
    return iter(sorted(names))


def _complain(error: OSError, path: str, strict: bool) -> None:
    if strict:
        raise OSError(error.errno, error.strerror, path) from error


def _relative(root: str, path: str) -> str:
    if not os.path.isabs(path):
        return path
    inside = os.path.relpath(path, root)
    if inside.split(os.sep)[0] == "..":
        raise OSError(errno.EXDEV, f"it lies outside of {root}", path)
    return inside


def _beneath(root: str, path: str, flags: int) -> int:
    """A descriptor of `path`; every folder on the way to it stays open, so that `..` needs no path either."""
    folders = [_real_folder(root)]
    todo = deque(part for part in path.split("/") if part not in ("", "."))
    links = 0
    try:
        while todo:
            name = todo.popleft()
            if name == "..":
                if len(folders) == 1:
                    raise OSError(errno.EXDEV, f"a link in its path leads out of {root}", path)
                os.close(folders.pop())
                continue
            try:
                if not todo:
                    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folders[-1])
                folders.append(os.open(name, _STEP, dir_fd=folders[-1]))
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                    raise
                target = _target(name, folders[-1], error)
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if os.path.isabs(target):
                try:
                    target = _relative(root, os.path.normpath(target))
                except OSError:
                    raise OSError(errno.EXDEV, f"a link in its path leads out of {root}", path) from None
                while len(folders) > 1:
                    os.close(folders.pop())
            todo.extendleft(part for part in reversed(target.split("/")) if part not in ("", "."))
        return os.open(".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folders[-1])
    finally:
        for folder in folders:
            os.close(folder)


def _target(name: str, folder: int, error: OSError) -> str:
    """Return the target of a link. Raises `error` if it is none."""
    with suppress(OSError):
        return os.readlink(name, dir_fd=folder)
    raise error


def _real_folder(path: str) -> int:
    """A descriptor of an absolute folder; a link in its path is refused."""
    folder = os.open("/", _STEP)
    for name in os.path.normpath(path).split("/"):
        if name in ("", "."):
            continue
        try:
            inner = os.open(name, _STEP, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            _target(name, folder, error)
            raise OSError(error.errno, "it has become a link", path) from error
        finally:
            os.close(folder)
        folder = inner
    return folder
