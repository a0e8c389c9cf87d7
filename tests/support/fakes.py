"""An engine in memory, for tests that need no container but do need one that behaves.

`FakeEngine` keeps what a real engine keeps (images, containers, unique names, states, an event stream) and really runs
the agent: `start` runs it as a process of the host in the run directory that the container mounts, so services
really run and really die. What it does not do: isolation, users, limits, networks.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from jupyter_mlenv.container_layout import AGENT_FOLDER, AGENT_PACKAGE, AGENT_START, LABEL, RUN_DIR, TOKEN_PATH
from jupyter_mlenv.engines.base import ContainerInfo, EngineEvent, EngineFacts, FileMissing, ImageInfo, Storage
from jupyter_mlenv.engines.model import BuildRecipe, ContainerSpec, FileEntry, Progress, Reporter, Resources
from jupyter_mlenv.errors import (
    BuildFailed,
    ContainerNotFound,
    EngineUnavailable,
    GpuUnavailable,
    ImageNotFound,
    MlenvError,
    NameConflict,
    SourceMissing,
)
from jupyter_mlenv.planning import agent_package


@dataclass
class FakeContainer:
    """What the engine knows about one container, and the process that stands for it."""

    spec: ContainerSpec
    info: ContainerInfo
    files: dict[str, FileEntry] = field(default_factory=dict)
    output: Path = Path(os.devnull)
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None
    ports: dict[int, int] = field(default_factory=dict)


class FakeEngine:
    """See the module. Keyword arguments are facts about the pretended machine.

    images
        References that are on the engine from the start.
    registry
        References that can be pulled, with their layer sizes in bytes.
    gpus
        Empty: a container that asks for a GPU is created and fails to start, as on a real engine.
    drops
        Fields of `Resources` that this engine silently does not apply.
    agent
        False: containers are only book-keeping and no process runs.

    `calls` counts the calls per method. `fail("create", error, times=1)` makes the next calls raise; `delays["pull"]`
    is waited for in seconds, cancellable. `sees["/work"]` is what it mounts there instead. `down()`
    and `up()` take the engine away and give it back. `kill(container)`
    is what a crash of the container's main process does.
    """

    def __init__(
        self,
        *,
        images: Sequence[str] = (),
        registry: Mapping[str, Sequence[int]] | None = None,
        gpus: tuple[str, ...] = (),
        drops: Sequence[str] = (),
        agent: bool = True,
        shares_filesystem: bool = True,
    ) -> None:
        self.containers: dict[str, FakeContainer] = {}
        self.store: dict[str, ImageInfo] = {reference: _image(reference) for reference in images}
        self.registry = dict(registry or {})
        self.calls: Counter[str] = Counter()
        self.delays: dict[str, float] = {}
        self.sees: dict[str, str] = {}
        self.available = True
        self.cache = 0
        self.closed = False
        self._facts = EngineFacts(kind="docker", version="0-fake", url="fake://", shares_filesystem=shares_filesystem)
        self._drops, self._gpus = tuple(drops), gpus
        self._agent = agent
        self._failures: dict[str, list[MlenvError]] = {}
        self._subscribers: set[asyncio.Queue[EngineEvent]] = set()
        self._scratch = Path(tempfile.mkdtemp(prefix="mlenv-fake-"))

    # What tests do to it

    def fail(self, method: str, error: MlenvError, times: int = 1) -> None:
        """Make the next `times` calls of a method raise."""
        self._failures.setdefault(method, []).extend([error] * times)

    def down(self) -> None:
        """No engine answers from now on; containers keep running, as with a daemon's live-restore."""
        self.available = False
        self._publish(EngineEvent("disconnected"))

    def up(self) -> None:
        """The engine answers again."""
        self.available = True
        self._publish(EngineEvent("connected"))

    async def kill(self, container: str) -> None:
        """The container's main process dies at once (exit code 137)."""
        box = self._find(container)
        assert box.process is not None, "nothing runs in it"
        assert box.watcher is not None
        _kill_tree(box.process.pid, signal.SIGKILL)
        await asyncio.wait({box.watcher})

    # The protocol

    def origin(self) -> str:
        return "a test"

    async def facts(self) -> EngineFacts:
        await self._called("facts")
        return self._facts

    async def storage(self) -> Storage | None:
        return None

    async def remarks(self) -> Sequence[str]:
        return ()

    async def image(self, reference: str) -> ImageInfo | None:
        await self._called("image")
        return self.store.get(reference)

    async def images(self, labels: Mapping[str, str]) -> Sequence[ImageInfo]:
        await self._called("images")
        return [image for image in self.store.values() if _matches(image.labels, labels)]

    async def pull(self, reference: str, reporter: Reporter) -> ImageInfo:
        await self._called("pull")
        if reference not in self.registry:
            raise ImageNotFound(f"The registry has no image {reference}.", details={"image": reference})
        layers = self.registry[reference]
        total, done = sum(layers), 0
        for number, size in enumerate(layers):
            done += size
            reporter.log(f"layer {number}: Pull complete")
            reporter.progress(Progress("pull", reference, done, total, "bytes"))
            await asyncio.sleep(self.delays.get("layer", 0))
        return self._add_image(_image(reference, size=total))

    async def build(self, recipe: BuildRecipe, reporter: Reporter) -> ImageInfo:
        await self._called("build")
        steps = [line for line in recipe.dockerfile.splitlines() if line.strip() and not line.startswith("#")]
        for number, step in enumerate(steps, 1):
            reporter.log(f"Step {number}/{len(steps)} : {step}")
            reporter.progress(Progress("build", step, number, len(steps), "steps"))
            await asyncio.sleep(self.delays.get("step", 0))
            if step.strip() == "RUN false":
                raise BuildFailed("The image could not be built.", details={"step": step}, log=["exit code: 1"])
        return self._add_image(_image(recipe.tag, labels=recipe.labels))

    async def import_image(self, reference: str, tar: bytes, labels: Mapping[str, str]) -> ImageInfo:
        await self._called("import_image")
        return self._add_image(_image(reference, size=len(tar), labels=labels))

    async def remove_image(self, reference: str) -> None:
        await self._called("remove_image")
        self.store.pop(reference, None)

    async def build_cache(self) -> int:
        await self._called("build_cache")
        return self.cache

    async def empty_build_cache(self) -> int:
        await self._called("empty_build_cache")
        freed, self.cache = self.cache, 0
        return freed

    async def create(self, spec: ContainerSpec) -> ContainerInfo:
        await self._called("create")
        taken = next((box for box in self.containers.values() if box.spec.name == spec.name), None)
        if taken is not None:
            raise NameConflict(f"The container name {spec.name} is in use by {taken.info.id}.")
        if spec.image not in self.store:
            raise ImageNotFound(f"There is no image {spec.image}.", details={"image": spec.image})
        missing = _missing(spec)
        if missing:
            raise SourceMissing(f"{missing} cannot be mounted.", details={"source": missing})
        info = ContainerInfo(
            id=hashlib.sha256(os.urandom(16)).hexdigest(),
            name=spec.name,
            status="created",
            labels=dict(spec.labels),
            image=spec.image,
            created=_now(),
            applied=_without(spec.resources, self._drops),
        )
        self.containers[info.id] = FakeContainer(spec, info)
        self._publish_about("create", info)
        return info

    async def put_files(self, container: str, files: Sequence[FileEntry]) -> None:
        await self._called("put_files")
        self._find(container).files.update((entry.path, entry) for entry in files)

    async def read_file(self, container: str, path: str) -> bytes:
        await self._called("read_file")
        box = self._find(container)
        mounted = self._mounted(box, path)
        if mounted is not None:
            return mounted
        entry = box.files.get(path)
        if entry is None or entry.data is None:
            raise FileMissing(f"There is no file {path} in {container}.")
        return entry.data

    async def start(self, container: str) -> ContainerInfo:
        await self._called("start")
        box = self._find(container)
        if box.info.status == "running":
            return box.info
        if box.spec.resources.gpus and not self._gpus:
            raise GpuUnavailable(
                'could not select device driver "" with capabilities: [[gpu]]', details={"no_driver": True}
            )
        if self._agent:
            await self._run(box)
        box.info = replace(
            box.info, status="running", started=_now(), exit_code=None, oom_killed=False, ports=dict(box.ports)
        )
        self._publish_about("start", box.info)
        return box.info

    async def stop(self, container: str, timeout: int) -> None:
        await self._called("stop")
        box = self._find(container)
        if box.info.status == "running":
            await self._end(box, timeout)

    async def remove(self, container: str) -> None:
        await self._called("remove")
        with contextlib.suppress(ContainerNotFound):
            box = self._find(container)
            if box.info.status == "running":
                await self._end(box, 0)
            self.containers.pop(box.info.id, None)
            self._publish_about("destroy", box.info)

    async def list(self, labels: Mapping[str, str]) -> Sequence[ContainerInfo]:
        await self._called("list")
        keep = ("id", "name", "status", "labels", "image", "created")
        return [
            ContainerInfo(**{name: getattr(box.info, name) for name in keep})
            for box in self.containers.values()
            if _matches(box.info.labels, labels)
        ]

    async def inspect(self, container: str) -> ContainerInfo:
        await self._called("inspect")
        return self._find(container).info

    async def logs(self, container: str, *, tail: int = 200, follow: bool = False) -> AsyncIterator[str]:
        await self._called("logs")
        box = self._find(container)
        given = max(0, len(self._lines(box)) - tail)
        while True:
            running = box.info.status == "running"
            for line in self._lines(box)[given:]:
                given += 1
                yield line
            if not follow or not running:
                return
            await asyncio.sleep(0.05)

    async def events(self) -> AsyncIterator[EngineEvent]:
        self.calls["events"] += 1
        queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            yield EngineEvent("connected" if self.available else "disconnected")
            while True:
                yield await queue.get()
        finally:
            self._subscribers.discard(queue)

    async def close(self) -> None:
        """Also ends every process that stands for a container: nothing of a test survives it."""
        self.closed = True
        for box in self.containers.values():
            if box.info.status in ("running", "paused"):
                await self._end(box, 0)
        shutil.rmtree(self._scratch, ignore_errors=True)

    # Inside

    async def _called(self, method: str) -> None:
        self.calls[method] += 1
        await asyncio.sleep(self.delays.get(method, 0))
        if not self.available:
            raise EngineUnavailable("No container engine answers at fake://.", hint="Start it.")
        if self._failures.get(method):
            raise self._failures[method].pop(0)

    def _mounted(self, box: FakeContainer, path: str) -> bytes | None:
        for mount in box.spec.mounts:
            there = Path(self.sees.get(mount.target, mount.source), path.removeprefix(f"{mount.target}/"))
            if path.startswith(f"{mount.target}/") and there.is_file():
                return there.read_bytes()
        return None

    def _find(self, container: str) -> FakeContainer:
        for box in self.containers.values():
            if container in (box.info.id, box.spec.name):
                return box
        raise ContainerNotFound(f"There is no container {container}.", details={"container": container})

    def _add_image(self, image: ImageInfo) -> ImageInfo:
        self.store.update((tag, image) for tag in image.tags)
        self._publish(EngineEvent("image"))
        return image

    async def _run(self, box: FakeContainer) -> None:
        arguments, directory = self._prepare(box)
        # Into a file: with a pipe, asyncio waits for the end of every child that inherited it.
        with box.output.open("ab") as output:
            box.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self._scratch), **box.spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        box.watcher = asyncio.create_task(self._watch(box, box.process))

    def _prepare(self, box: FakeContainer) -> tuple[Sequence[str], str]:
        """The arguments of the process that stands for the container, and its working directory."""
        run_dir = next((mount.source for mount in box.spec.mounts if mount.target == RUN_DIR), "")
        run_dir = run_dir and self.sees.get(RUN_DIR, run_dir)
        folder = self._scratch / f"{box.info.id[:12]}-agent"
        # No isolation: what it mounted is where it was, and the agent is told so.
        places = {mount.target: mount.source for mount in box.spec.mounts} | self.sees
        told = f"""
def identity(path, own=identity, places={places!r}):
    target = max((t for t in places if path == t or path.startswith(t + "/")), key=len, default="")
    return own(places.get(target, "") + path[len(target):])
"""
        files = {entry.path: entry for entry in agent_package.files()} | box.files
        for path, entry in files.items():
            if path.startswith(f"{AGENT_FOLDER}/") and path != TOKEN_PATH and entry.data is not None:
                place = folder / os.path.relpath(path, AGENT_FOLDER)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(entry.data + (told.encode() if path == f"{AGENT_PACKAGE}/files.py" else b""))
        box.output = self._scratch / f"{box.info.id[:12]}.log"
        box.ports = {port: _free_port() for port in box.spec.publish}
        if not run_dir:  # the host cannot reach the container's sockets: it has its own directory, and a published port
            run_dir = str(self._scratch / box.info.id[:12])
            os.makedirs(run_dir, mode=0o700, exist_ok=True)
        token = folder / "token"
        if TOKEN_PATH in box.files:
            token.write_bytes(box.files[TOKEN_PATH].data or b"")
        here = {AGENT_START: str(folder / "start.py"), RUN_DIR: run_dir, TOKEN_PATH: str(token)} | {
            str(port): str(at) for port, at in box.ports.items()
        }
        directory = box.spec.workdir if os.path.isdir(box.spec.workdir) else run_dir
        return [here.get(word, word) for word in box.spec.command[1:]], directory

    async def _watch(self, box: FakeContainer, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self._ended(box, code if code >= 0 else 128 - code)

    async def _end(self, box: FakeContainer, timeout: int) -> None:
        if box.process is None or box.watcher is None:
            self._ended(box, 137)
            return
        children = _descendants(box.process.pid)
        with contextlib.suppress(ProcessLookupError):
            (box.process.terminate if timeout else box.process.kill)()
        _, late = await asyncio.wait({box.watcher}, timeout=timeout or None)
        if late:
            with contextlib.suppress(ProcessLookupError):
                box.process.kill()
            await asyncio.wait({box.watcher})
        for pid in children:  # the end of a container's first process is the end of all of them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _ended(self, box: FakeContainer, code: int) -> None:
        box.process = box.watcher = None
        box.ports = {}
        box.info = replace(box.info, status="exited", exit_code=code, ports={})
        self._publish_about("die", box.info)

    def _lines(self, box: FakeContainer) -> Sequence[str]:
        return box.output.read_text(errors="replace").splitlines()

    def _publish_about(self, kind: Literal["create", "start", "die", "destroy"], info: ContainerInfo) -> None:
        self._publish(
            EngineEvent(
                kind,
                container=info.id,
                environment=info.labels.get(f"{LABEL}.id", ""),
                labels=info.labels,
                exit_code=info.exit_code,
                time=time.time(),
            )
        )

    def _publish(self, event: EngineEvent) -> None:
        for queue in self._subscribers:
            queue.put_nowait(event)


def _image(reference: str, *, size: int = 1, labels: Mapping[str, str] | None = None) -> ImageInfo:
    digest = hashlib.sha256(reference.encode()).hexdigest()
    return ImageInfo(f"sha256:{digest}", tags=(reference,), size=size, created=_now(), labels=dict(labels or {}))


def _missing(spec: ContainerSpec) -> str:
    return next((mount.source for mount in spec.mounts if not os.path.exists(mount.source)), "")


def _without(resources: Resources, fields: Sequence[str]) -> Resources:
    dropped: dict[str, Any] = dict.fromkeys(fields)
    return replace(resources, **dropped)


def _matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _descendants(pid: int) -> Sequence[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _kill_tree(pid: int, number: signal.Signals) -> None:
    for each in [*_descendants(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)
