"""A build's context as a tar: never in memory when it is large, and never more than what lies in its folder."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from typing import IO, Any, cast

from ... import treewalk
from ...errors import EngineError
from ...planning.dockerignore import Ignore, lines_of
from ...planning.ignore_pattern import BadPattern
from ..model import BuildRecipe
from .containers import tar_info

MAX_BYTES_IN_MEMORY = 8 << 20
"""Bytes of a context that stay in memory; a larger one goes to a temporary file."""

MAX_BYTES = 20 << 30
"""Bytes of a context at most: data sets belong into the workspace, which is mounted, and not into the image."""

MAX_FILES = 1_000_000
"""Files and folders of a context at most; a large `node_modules` has 200,000."""

OWN_DOCKERFILE = ".mlenv.Dockerfile"

"""The name of a Dockerfile that does not come from its context."""


def write_context(recipe: BuildRecipe, give_up: Callable[[], bool] = lambda: False) -> tuple[IO[bytes], str]:
    """The tar, read from its start, and the Dockerfile's path in it.

    A context directory is taken as the docker command line takes it: without what its `.dockerignore` excludes, owned
    by root, a link as a link. Sockets, pipes and devices are left out. Everything is opened by descriptors, so that
    whoever changes the folder meanwhile gets nothing else into the tar. `give_up` is asked between files and while a
    large one is read: true ends the work early with EngineError. The engine applies no `.dockerignore` to a context
    that is sent with the request.

    Raises
    ------
    EngineError
        The directory is missing, larger than `MAX_BYTES` or `MAX_FILES`, or a file in it cannot be read.
    """
    target = tempfile.SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        # BuildKit recognizes a tar by its first KiB: a short plain header has to come first, no extended one.
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
            dockerfile = _Folder(recipe, give_up).write(tar) if recipe.context else _text(tar, "Dockerfile", recipe)
            for entry in recipe.files:
                tar.addfile(tar_info(entry), io.BytesIO(entry.data or b""))
        target.seek(0)
    except BaseException:
        target.close()
        raise
    return target, dockerfile


def _text(tar: tarfile.TarFile, name: str, recipe: BuildRecipe) -> str:
    data = recipe.dockerfile.encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    return name


class _Folder:
    """The context directory of a recipe on its way into a tar."""

    def __init__(self, recipe: BuildRecipe, give_up: Callable[[], bool]) -> None:
        self._recipe = recipe
        self._give_up = give_up
        self._ignore = Ignore([])

    def write(self, tar: tarfile.TarFile) -> str:
        """Everything that is not ignored; returns where the Dockerfile went."""
        recipe = self._recipe
        try:
            with treewalk.opened(recipe.root, recipe.context) as top:
                self._ignore = self._ignored()
                dockerfile = _text(tar, self._survey(top), recipe)
                # The garbage collector stops all threads to look at these; of 200,000 that takes 70 ms, each time.
                members: list[tarfile.TarInfo] = cast(Any, tar).members
                given = {dockerfile, *(entry.path.strip("/") for entry in recipe.files)}
                for entry in self._walk(top):
                    self._go_on()
                    if entry.path not in given:
                        self._add(tar, entry)
                        members.clear()
                return dockerfile
        except OSError as error:
            raise self._unreadable(error) from error

    def _ignored(self) -> Ignore:
        file = self._recipe.ignore_file or os.path.join(self._recipe.context, ".dockerignore")
        try:
            return Ignore(lines_of(treewalk.read_text(self._recipe.root, file)))
        except FileNotFoundError:
            return Ignore([])
        except UnicodeDecodeError as error:
            raise OSError(errno.EILSEQ, "it is no UTF-8 text", file) from error
        except BadPattern as error:
            raise EngineError(
                f"The build context {self._recipe.context} cannot be read: in {file}, {error}.",
                hint=f"Correct that line of {file}.",
                details={"file": file},
            ) from error

    def _walk(self, top: int) -> Any:
        return treewalk.walk(top, self._choose, Ignore.NOTHING, pause=self._go_on)

    def _choose(self, path: str, is_folder: bool, above: int) -> tuple[bool, int | None]:
        names = path.split("/")
        ignored, state = self._ignore.enter(names, above)
        return not ignored, state if not ignored or (is_folder and self._ignore.may_hold_more(names)) else None

    def _survey(self, top: int) -> str:
        """Refuse a context that is too large before anything of it is written; returns where the Dockerfile goes.

        That is over the file it was read from if that is in the context, so that a `COPY .` sees the same files as
        under the docker command line; else beside everything else, under a name that hides nothing. Where it is left
        out, the copy has it all the same: an engine finds it nowhere else.
        """
        own = os.path.relpath(self._recipe.dockerfile_path or os.devnull, self._recipe.context)
        place, size = OWN_DOCKERFILE if own.startswith("../") else own, 0
        for count, entry in enumerate(self._walk(top), 1):
            size += entry.status.st_size if entry.is_file else 0
            if count > MAX_FILES or size > MAX_BYTES:
                raise self._too_large(entry.path)
        return place

    def _add(self, tar: tarfile.TarFile, entry: treewalk.Entry) -> None:
        info = tarfile.TarInfo(entry.path)
        info.mode = stat.S_IMODE(entry.status.st_mode)
        info.mtime = max(0, int(entry.status.st_mtime))
        if entry.is_folder:
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        elif entry.is_link:
            info.type = tarfile.SYMTYPE
            info.linkname = os.readlink(entry.name, dir_fd=entry.folder)
            tar.addfile(info)
        elif entry.is_file:
            try:
                with os.fdopen(treewalk.open_file(entry.folder, entry.name), "rb") as file:
                    status = os.fstat(file.fileno())
                    info.size, info.mode = status.st_size, stat.S_IMODE(status.st_mode)
                    tar.addfile(info, _Reading(file, self._go_on))  # type: ignore[arg-type]
            except OSError as error:
                short = error.errno is None  # tarfile's: it got shorter while it was read
                why = "it became shorter while it was read" if short else error.strerror
                raise OSError(error.errno or errno.EIO, why, entry.path) from error

    def _go_on(self) -> None:
        if self._give_up():
            raise EngineError("The build was given up.")

    def _unreadable(self, error: OSError) -> EngineError:
        root = self._recipe.context
        path = os.path.join(root, os.fsdecode(error.filename or ""))
        if os.path.normpath(path) == os.path.normpath(root):
            return EngineError(
                f"The build context {root} cannot be read as a directory: {error.strerror}.",
                hint="Correct the preset.",
                details={"context": root},
            )
        return EngineError(
            f"{path} of the build context cannot be read: {error.strerror}.",
            hint="Make it readable, or name it in `.dockerignore`.",
            details={"file": path},
        )

    def _too_large(self, path: str) -> EngineError:
        root = self._recipe.context
        return EngineError(
            f"The build context {root} holds more than {MAX_FILES:,} files or {MAX_BYTES >> 30} GiB; "
            f"{os.path.join(root, path)} is one too many.",
            hint="Name what the image does not need in `.dockerignore`: the project is mounted into the environment "
            "anyway.",
            details={"context": root},
        )


class _Reading:
    """A file that is read for a tar: what it grows by meanwhile is not asked for, and the work can be given up."""

    def __init__(self, file: IO[bytes], go_on: Callable[[], None]) -> None:
        self._file = file
        self._go_on = go_on

    def read(self, size: int) -> bytes:
        self._go_on()
        return self._file.read(size)
