"""The nouns of engines: what one is asked for, in no engine's own words. Frozen dataclasses, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .gpus import NONE, GpuRequest


@dataclass(frozen=True)
class Resources:
    """Limits of one environment; `None` means the engine's default.

    `memory` and `shm` in bytes, `cpus` in cores, `pids` a count.
    """

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    shm: int | None = None
    gpus: GpuRequest = NONE


@dataclass(frozen=True)
class Mount:
    """A directory or file of the engine's host, bind-mounted. Both paths absolute."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class FileEntry:
    """A file (or, with `data=None`, a directory) put into a container before it starts. Absolute `path`."""

    path: str
    data: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


def plain_step(step: str) -> str:
    """Return a step of a build as an engine names it, on one line and without its number."""
    return re.sub(r"^\[[^\]]*\d+/\d+\] ", "", " ".join(step.split()))


@dataclass(frozen=True)
class BuildRecipe:
    """One image build. `tag` carries the content hash, so an image of that tag never needs building again.

    `files` are added to the context (path inside the context → content); `context` is a directory or empty, and no
    link in its path may lead out of `root`. `dockerfile_path` and `ignore_file` are where the Dockerfile came from and
    what says which files of the context are left out, as paths of this machine; both may be empty.
    `groups` are the package groups of the Dockerfile, one RUN each, kept as a label so that a later image that only
    adds packages reuses the layers of this one. `step_title` says in words what a step does.
    """

    tag: str
    dockerfile: str
    context: str = ""
    root: str = "/"
    dockerfile_path: str = ""
    ignore_file: str = ""
    files: tuple[FileEntry, ...] = ()
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: int = 0
    step_title: Callable[[str], str] = field(default=plain_step, compare=False)


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create, in no engine's own words."""

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""  # "uid:gid"
    groups: tuple[int, ...] = ()  # further groups of that user
    workdir: str = ""
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    empty_folders: tuple[str, ...] = ()  # what a mount brings along and the container is to find empty
    empty_files: tuple[str, ...] = ()
    resources: Resources = Resources()
    network: str = ""
    publish: tuple[int, ...] = ()  # container ports published on the engine host's loopback, random host port
    stop_timeout: int = 10  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Progress:
    """Progress of a job: `current` of `total` in `unit` (`bytes`, `steps`, `layers`) of `phase`; total 0: unknown."""

    phase: Literal["queued", "plan", "pull", "build", "create", "start", "service", "stop", "done"]
    message: str = ""
    current: int = 0
    total: int = 0
    unit: str = ""

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1 within the phase, `None` when the total is unknown."""
        return min(1.0, self.current / self.total) if self.total > 0 else None


class Reporter(Protocol):
    """Receiver of the progress of long work. Cheap to call often; called in the event loop's thread."""

    def progress(self, progress: Progress) -> None: ...

    def log(self, line: str) -> None: ...

    def note(self, sentence: str) -> None: ...
