"""The files of a project that say how its preset is built, read once, as something that anybody may have written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from .. import treewalk
from .model import BuiltImage, DockerfileImage, Preset, Project


def project(folder: str, preset: Preset, text: str) -> Project:
    """The files that `preset` names and that are its project's, with `text` as the one that it was read from.

    What cannot be read has no text: planning then says why.
    """
    files: dict[str, bytes | None] = {preset.source: text.encode()}
    for path in _named(preset):
        if treewalk.root_of(path, folder) == folder:
            files[path] = None
            with suppress(OSError):
                files[path] = treewalk.read_bytes(folder, path)
    return Project(folder, _digest(folder, files), _texts(files))


def holds(project: Project, path: str) -> bool:
    """Return whether an absolute path is one of the project's folder."""
    return treewalk.root_of(path, project.folder) == project.folder


def text(project: Project, path: str) -> str:
    """Return the text of a project's file at the time. Raises OSError, UnicodeDecodeError if that was nothing."""
    if path in project.texts:
        return project.texts[path]
    treewalk.read_text(project.folder, path)
    raise OSError(errno.EAGAIN, "it has changed at this moment", path)


def _named(preset: Preset) -> Iterable[str]:
    match preset.image:
        case BuiltImage(requirements=requirements) if requirements:
            yield os.path.join(preset.directory, requirements)
        case DockerfileImage(dockerfile=dockerfile, context=context):
            path = os.path.join(preset.directory, dockerfile)
            yield path
            yield f"{path}.dockerignore"
            folder = os.path.join(preset.directory, context) if context else os.path.dirname(path)
            yield os.path.join(folder, ".dockerignore")


def _digest(folder: str, files: Mapping[str, bytes | None]) -> str:
    digest = hashlib.sha256(b"jupyter_mlenv project 1\0")
    for path in sorted(files):
        data = files[path]
        digest.update(os.fsencode(os.path.relpath(path, folder)))
        digest.update(f"\0{'none' if data is None else len(data)}\0".encode())
        digest.update(data or b"")
    return digest.hexdigest()


def _texts(files: Mapping[str, bytes | None]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path, data in files.items():
        if data is not None:
            with suppress(UnicodeDecodeError):
                texts[path] = data.decode("utf-8")
    return texts
