"""The files of a project that say how its preset is built, read as something that anybody may have written.

A link, a pipe or a device under such a name is refused, never followed or waited for, and so is a file without an end.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping

from .model import Preset, Project

MOST_TEXT = 1 << 20
"""Bytes of a Dockerfile or a requirements file; more is no text that a person has written."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_bytes(folder: str, path: str, most: int = MOST_TEXT) -> bytes:
    """A regular file below `folder`, by a relative path no part of which is a link.

    Raises OSError, whose `strerror` says in words what is wrong, also for a file of more than `most` bytes.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or path.startswith("/"):
        raise OSError(0, "it is not below the project's folder")
    at = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = _open(part, _FOLDER, at)
            os.close(at)
            at = inner
        descriptor = _open(parts[-1], _FILE, at)
    finally:
        os.close(at)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file")
        data = bytearray()
        while len(data) <= most and (more := os.read(descriptor, most + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise OSError(0, f"it has more than {most >> 10} KiB")
    return bytes(data)


def project(folder: str, preset: Preset, text: str) -> Project:
    """The files that `preset` names and that are its project's, with `text` as the one that it was read from.

    What cannot be read has no text: planning then says why, and does not read it another time.
    """
    files: dict[str, bytes | None] = {preset.source: text.encode()}
    for path in _named(preset):
        if path.startswith(folder.rstrip("/") + "/"):
            try:
                files[path] = read_bytes(folder, os.path.relpath(path, folder))
            except OSError:
                files[path] = None
    texts = {path: _decoded(data) for path, data in files.items() if data is not None}
    readable = {path: content for path, content in texts.items() if content is not None}
    return Project(folder, _digest(folder, files), readable)


def _named(preset: Preset) -> Iterable[str]:
    image = preset.image
    if image.requirements:
        yield os.path.join(preset.directory, image.requirements)
    if image.dockerfile:
        path = os.path.join(preset.directory, image.dockerfile)
        yield path
        context = os.path.join(preset.directory, image.context) if image.context else os.path.dirname(path)
        yield os.path.join(context, ".dockerignore")


def _open(name: str, flags: int, at: int) -> int:
    try:
        return os.open(name, flags, dir_fd=at)
    except OSError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise OSError(error.errno, f"{name} is a link, and links are not followed here") from None
        raise


def _digest(folder: str, files: Mapping[str, bytes | None]) -> str:
    digest = hashlib.sha256(b"jupyter_mlenv project 1\0")
    for path in sorted(files):
        data = files[path]
        digest.update(f"{os.path.relpath(path, folder)}\0{'none' if data is None else len(data)}\0".encode())
        digest.update(data or b"")
    return digest.hexdigest()


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
