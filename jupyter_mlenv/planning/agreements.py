"""Agreements of a person to presets of projects, by folder and content: a file of the person's own.

A file that is broken, or that somebody else could have written, says nothing: then nothing was agreed to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DiskFull, MlenvError

MAX_AGREEMENTS = 1000
"""Agreements that are kept, newest first: going back to an older branch asks nothing."""

MAX_FILE_BYTES = 8 << 20
"""Bytes of the file that are read: `MAX_AGREEMENTS` of the longest paths, 4 KiB each, in JSON."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

Agreement = tuple[str, str]
"""Folder and digest."""


def agreed(file: str, folder: str, digest: str) -> bool:
    """Return whether the person has agreed to this content in this folder."""
    return bool(file) and not _within(file, folder) and (folder, digest) in _read(file)


def add(file: str, folder: str, digest: str) -> None:
    """Remember it. Raises MlenvError if that cannot be, as where the project itself could write the file; DiskFull."""
    if not file or _within(file, folder):
        raise MlenvError(
            f"What you agree to in {folder} cannot be remembered: {file or 'the file for it'} lies in that folder, "
            "where the project itself could write it.",
            hint="Work in a folder of the project alone, or put the preset into a folder of your own: "
            "`jupyter mlenv presets` shows where presets are looked for.",
            details={"folder": folder},
        )
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        with _locked(os.path.dirname(file)):
            others = [one for one in _read(file) if one != (folder, digest)]
            _write(file, [(folder, digest), *others][:MAX_AGREEMENTS])
    except OSError as error:
        message = f"What you agree to cannot be remembered in {file}: {error.strerror}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(message, hint="Free some space there.") from error
        raise MlenvError(message, hint="Make that folder one that you can write.") from error


def _read(file: str) -> list[Agreement]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as opened:
        facts = os.fstat(descriptor)
        ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022
        data = opened.read(MAX_FILE_BYTES + 1) if ours else b""
    try:
        listed = json.loads(data)["agreements"] if len(data) <= MAX_FILE_BYTES else []
        return [_agreement(one) for one in listed[:MAX_AGREEMENTS]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _agreement(value: dict[str, object]) -> Agreement:
    folder, digest = value["folder"], value["digest"]
    if not (isinstance(folder, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError("not an agreement")
    return folder, digest


def _write(file: str, agreements: list[Agreement]) -> None:
    value = {"version": 1, "agreements": [{"folder": folder, "digest": digest} for folder, digest in agreements]}
    handle, aside = tempfile.mkstemp(dir=os.path.dirname(file), prefix=".agreements-")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump(value, opened, indent=1)
        os.replace(aside, file)
    except BaseException:
        os.unlink(aside)
        raise


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Two processes that agree at once both count. Where the file system has no locks the later one counts."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _within(file: str, folder: str) -> bool:
    """Return whether the file, or what its path leads to, lies in the folder."""
    inside = os.path.realpath(folder).rstrip("/") + "/"
    ways = (os.path.abspath(file), os.path.realpath(file), os.path.realpath(os.path.dirname(file)) + "/")
    return any(way.startswith(inside) for way in ways)
