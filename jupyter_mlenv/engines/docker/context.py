"""A build's context as a tar: never in memory when it is large."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from typing import IO

from ...errors import EngineError
from ...model import BuildRecipe
from .containers import tar_info

IN_MEMORY = 8 << 20
"""Bytes of a context that stay in memory; a larger one goes to a temporary file."""

OWN_DOCKERFILE = ".mlenv.Dockerfile"


def write_context(recipe: BuildRecipe, give_up: Callable[[], bool] = lambda: False) -> tuple[IO[bytes], str]:
    """The tar, read from its start, and the Dockerfile's path in it.

    A context directory is taken as the docker command line takes it: without what its `.dockerignore` excludes, owned
    by root. `give_up` is asked between files: true ends the work early with EngineError. The engine applies no
    `.dockerignore` to a context that is sent with the request.

    Raises
    ------
    EngineError
        The directory is missing or a file in it cannot be read.
    """
    target = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        # BuildKit recognizes a tar by its first KiB: a short plain header has to come first, no extended one.
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
            names = _included(recipe) if recipe.context else []
            extra = {entry.path.strip("/") for entry in recipe.files}
            dockerfile = _dockerfile_name(recipe, names)
            tar.addfile(*_text(dockerfile, recipe.dockerfile))
            for name in names:
                if give_up():
                    raise EngineError("The build was given up.")
                if name not in extra and name != dockerfile:
                    _add(tar, recipe.context, name)
            for entry in recipe.files:
                tar.addfile(tar_info(entry), io.BytesIO(entry.data or b""))
        target.seek(0)
    except BaseException:
        target.close()
        raise
    return target, dockerfile


def _text(name: str, text: str) -> tuple[tarfile.TarInfo, IO[bytes]]:
    data = text.encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, io.BytesIO(data)


def _included(recipe: BuildRecipe) -> list[str]:
    from docker.utils.build import exclude_paths  # noqa: PLC0415 - slow to import

    root = recipe.context
    if not os.path.isdir(root):
        raise EngineError(
            f"The build context {root} is not a directory.", hint="Correct the preset.", details={"context": root}
        )
    patterns: list[str] = []
    ignore = os.path.join(root, ".dockerignore")
    if os.path.isfile(ignore):
        with open(ignore, encoding="utf-8-sig") as file:
            patterns = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    return sorted(exclude_paths(root, patterns))


def _dockerfile_name(recipe: BuildRecipe, names: list[str]) -> str:
    """Where the Dockerfile goes: over the file it was read from if that is in the context, so that a `COPY .` sees
    the same files as under the docker command line; else beside everything else, under a name that hides nothing."""
    if not recipe.context:
        return "Dockerfile"
    text = recipe.dockerfile.encode()
    for name in names:
        path = os.path.join(recipe.context, name)
        if "dockerfile" not in os.path.basename(name).lower() or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            if file.read(len(text) + 1) == text:
                return name
    return OWN_DOCKERFILE


def _add(tar: tarfile.TarFile, root: str, name: str) -> None:
    path = os.path.join(root, name)
    try:
        info = tar.gettarinfo(path, arcname=name)
        if info is None:  # a socket
            return
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        if info.isfile():
            with open(path, "rb") as file:
                tar.addfile(info, file)
        else:
            tar.addfile(info)
    except OSError as error:
        raise EngineError(
            f"{path} of the build context cannot be read: {error.strerror}.",
            hint="Make it readable, or name it in `.dockerignore`.",
            details={"file": path},
        ) from error
