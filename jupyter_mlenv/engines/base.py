"""The protocol of engine adapters, and the facts that they report.

An adapter is tiny on purpose: run a container, reach one port or one shared directory. Everything else (services,
kernels, shells, tunnels) is the agent's work inside the container.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from ..errors import EngineError, EnginePermission, EngineUnavailable, EngineUnsupported
from .model import BuildRecipe, ContainerSpec, FileEntry, Reporter, Resources

NO_ENGINE = (EngineUnavailable, EnginePermission, EngineUnsupported)
"""The errors that say that there is no engine to start anything on."""


@dataclass(frozen=True)
class EngineFacts:
    """Facts about an engine that planning needs; also the body of `GET api/engine`.

    `shares_filesystem`: unix sockets in a bind-mounted host directory work on both sides (a local Linux engine), else
    the agent is reached through a published port of `publish_host`. `rootless`: the engine runs in a user namespace in
    which the person who runs it is root. `user_map`: users of containers are others here, and none is the person.
    `keeps_users`: users of containers are this machine's, also where it is rootless.
    `container`: the id of the engine's container that this process itself runs in, empty for none.
    `ignored`: the fields of `Resources` that the engine takes and does not apply.
    """

    kind: str  # "docker" or "podman"
    version: str
    url: str  # as found: unix:///var/run/docker.sock
    os: str = "linux"
    architecture: str = "x86_64"
    shares_filesystem: bool = True
    publish_host: str = "127.0.0.1"
    buildkit: bool = True
    rootless: bool = False
    user_map: bool = False
    keeps_users: bool = False
    container: str = ""
    ignored: tuple[str, ...] = ()
    cpus: int = 0
    memory: int = 0  # bytes


@dataclass(frozen=True)
class Storage:
    """The folder of this machine in which an engine keeps images, and how a person makes room there."""

    path: str
    hint: str


@dataclass(frozen=True)
class ImageInfo:
    """An image that is on the engine. `size` in bytes."""

    id: str
    tags: tuple[str, ...] = ()
    size: int = 0
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerInfo:
    """A container as the engine reports it.

    From `list` only `id name status labels image created` are filled and, for one that has exited, `exit_code`.
    `status` is `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`, or a word of that engine's
    own. `created`, to the second, and `started` are aware. `applied` is what the engine really applied; `ports` maps a
    container port to the host port published for it.
    """

    id: str
    name: str
    status: str
    labels: Mapping[str, str]
    image: str = ""
    created: datetime | None = None
    started: datetime | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    address: str = ""  # its own IP, where it has one
    ports: Mapping[int, int] = field(default_factory=dict)
    applied: Resources | None = None
    warnings: tuple[str, ...] = ()  # from `create`: what the engine said it would not apply


@dataclass(frozen=True)
class EngineEvent:
    """One change. `connected` and `disconnected` tell the subscriber to take a fresh snapshot, or that it is blind."""

    kind: Literal["create", "start", "die", "oom", "destroy", "pause", "unpause", "image", "connected", "disconnected"]
    container: str = ""  # engine id
    environment: str = ""  # our id, from the label
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    time: float = 0.0  # seconds since the epoch


class FileMissing(EngineError):
    """A container has no such file, which no person meets. `details` has `container` and `path`."""

    code = "file_missing"
    status = 404


class Engine(Protocol):
    """An engine, asynchronous: no method blocks the event loop, each may be cancelled and then leaves nothing behind.

    Every method raises `EngineUnavailable` or `EnginePermission` when the engine does not answer, `EngineError` for
    what has no class of its own. Containers and images are named by engine id or name.
    """

    def origin(self) -> str:
        """The origin of the engine's address in words for a person, as "the default socket". Makes no call."""

    async def facts(self) -> EngineFacts:
        """Ask the engine once and remember (until it was unreachable)."""

    async def storage(self) -> Storage | None:
        """The place of images, `None` where it is not on this machine."""

    async def remarks(self) -> Sequence[str]:
        """Sentences about what does not work in its configuration on this machine; makes no call."""

    async def image(self, reference: str) -> ImageInfo | None:
        """The image if it is on the engine, else `None`."""

    async def images(self, labels: Mapping[str, str]) -> Sequence[ImageInfo]:
        """Images that carry all these labels; an empty value matches any value."""

    async def pull(self, reference: str, reporter: Reporter) -> ImageInfo:
        """Pull with per-layer progress in bytes. Raises ImageNotFound, RegistryUnreachable, DiskFull."""

    async def build(self, recipe: BuildRecipe, reporter: Reporter) -> ImageInfo:
        """Build; progress in steps, output as log lines. Raises BuildFailed, RegistryUnreachable, DiskFull."""

    async def import_image(self, reference: str, tar: bytes | Path, labels: Mapping[str, str]) -> ImageInfo:
        """Make an image from a root file system in a tar: its bytes, or the path of one that is streamed."""

    async def remove_image(self, reference: str) -> None:
        """Remove; an image that is not there is no error."""

    async def build_cache(self) -> int:
        """Bytes of the cache of builds that nothing uses now; 0 for an engine that has none."""

    async def empty_build_cache(self) -> int:
        """Empty it, which makes the next builds slower; the bytes that it had. Waits for as long as it takes."""

    async def create(self, spec: ContainerSpec) -> ContainerInfo:
        """Create, with `init`, and read back what was applied. Raises NameConflict, ImageNotFound, DiskFull."""

    async def put_files(self, container: str, files: Sequence[FileEntry]) -> None:
        """Put files and directories into a created container, with owner and mode."""

    async def read_file(self, container: str, path: str) -> bytes:
        """One small file. Raises ContainerNotFound, FileMissing, EngineError for what is no file, or a large one."""

    async def start(self, container: str) -> ContainerInfo:
        """Start and inspect. Raises GpuUnavailable, ContainerNotFound. Starting a running one is no error."""

    async def stop(self, container: str, timeout: int) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds. Stopping a stopped one is no error."""

    async def remove(self, container: str) -> None:
        """Remove by force, with its anonymous volumes; one that is not there is no error."""

    async def list(self, labels: Mapping[str, str]) -> Sequence[ContainerInfo]:
        """All containers that carry these labels, running or not, in ONE engine call."""

    async def inspect(self, container: str) -> ContainerInfo:
        """Raises ContainerNotFound."""

    def logs(self, container: str, *, tail: int = 200, follow: bool = False) -> AsyncIterator[str]:
        """The container's own output, line by line without the newline."""

    def events(self) -> AsyncIterator[EngineEvent]:
        """Changes of our containers, for ever: reconnects by itself and says so with `connected`/`disconnected`."""

    async def close(self) -> None:
        """Let go of threads and connections."""
