"""Bringing one environment up: image, container, agent. Failed or cancelled anywhere, nothing new is left."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from . import plan as planning
from . import readback, rundir
from .agentclient import AgentClient
from .engines.base import ContainerInfo, Engine
from .errors import (
    ContainerExited,
    ContainerNotFound,
    EngineError,
    EnvironmentFailed,
    GpuUnavailable,
    MlenvError,
    NameConflict,
)
from .images import Images, with_twin
from .model import AGENT_PORT, LABEL, TOKEN_PATH, FileEntry, Plan, Progress, Reporter, Settings
from .routes import TcpRoute, UnixRoute

FOREIGN_START = 10.0
"""Seconds that another process gets between creating a container and starting it, where no lock of the run directory
tells whether it still lives; usually it takes 0.1."""

CANNOT_RUN = (126, 127)
"""Exit codes of an init that cannot run its command; the command is the image's Python, running the agent."""

TOO_OLD = re.compile(r"^mlenv agent: Python (\S+) is too old, (\S+) or newer is needed")
"""What `agent/start.py` says before it exits."""

CHECK_EVERY = 0.25
"""Seconds between two looks whether the container still runs while its agent is awaited."""


@dataclass(frozen=True)
class Lifecycle:
    """The steps that start and remove containers; holds no state of its own."""

    engine: Engine
    settings: Settings

    async def up(self, plan: Plan, report: Reporter, *, recreate: bool = False) -> ContainerInfo:
        """The running container of this plan with its agent ready, made or started as needed.

        Raises what the engine raises, `ContainerExited`, `AgentUnreachable`, `GpuUnavailable`.
        """
        existing = await self.existing(plan.container.name)
        if existing is not None and recreate:
            await self.remove(existing)
            existing = None
        if existing is None:
            await Images(self.engine, self.settings).ensure(plan, report)
            return await self._create(plan, report)
        return await self.wake(existing, report)

    async def wake(self, info: ContainerInfo, report: Reporter) -> ContainerInfo:
        """Start a container that exists, unless it runs, and wait for its agent.

        Raises `EnvironmentFailed` for one that a version before made; see `check`.
        """
        self.check(info)
        started = info.status != "running"
        if started:
            report.progress(Progress("start", "Starting the container"))
            self._prepare(info.labels)
            # Anew each time: the run directory may have been lost, and code inside may have changed its own.
            with suppress(EngineError):  # of a mount that is gone: the start says which one
                await self.engine.put_files(info.id, self._token(info.labels))
            info = await self.engine.start(info.id)
        try:
            await self._ready(info, report)
        except BaseException:
            if started:
                await _finish(self.engine.stop(info.id, 1))
            raise
        return info

    async def remove(self, info: ContainerInfo) -> None:
        """Remove the container and its run directory."""
        await self.engine.remove(info.id)
        self._forget(info.labels)

    async def client(self, info: ContainerInfo) -> AgentClient:
        """A client for the agent of a running container. Raises `EnvironmentFailed` as `check` does."""
        self.check(info)
        run_dir = info.labels.get(f"{LABEL}.run", "")
        if run_dir:
            return AgentClient(UnixRoute(rundir.agent_socket(run_dir)), rundir.token(run_dir))
        if AGENT_PORT not in info.ports:
            info = await self.engine.inspect(info.id)
        facts = await self.engine.facts()
        token = (await self.engine.read_file(info.id, TOKEN_PATH)).decode("latin-1").strip()
        return AgentClient(TcpRoute(facts.publish_host, info.ports[AGENT_PORT]), token)

    async def existing(self, name: str) -> ContainerInfo | None:
        """The container of this name, unless it is a leftover of a start that died half-way."""
        deadline = time.monotonic() + FOREIGN_START
        while True:
            try:
                info = await self.engine.inspect(name)
                if info.status in ("running", "exited", "paused"):
                    return info
                # created, removing, dead: another process may be at work on it, else it is a leftover.
                late = time.monotonic() > deadline or _older(info.created, FOREIGN_START)
                if info.status == "dead" or late or await self._abandoned(info):
                    await self.remove(info)
                    return None
            except ContainerNotFound:
                return None
            await asyncio.sleep(0.05)

    async def _abandoned(self, info: ContainerInfo) -> bool:
        """Whether the process that created this container was killed before it started it."""
        if not rundir.abandoned(info.labels.get(f"{LABEL}.run", "")):
            return False
        # Nobody works on it, so whoever did has started it by now, or never will.
        return (await self.engine.inspect(info.id)).status == "created"

    async def _create(self, plan: Plan, report: Reporter) -> ContainerInfo:
        report.progress(Progress("create", "Creating the container"))
        self._prepare(plan.container.labels)
        try:
            with rundir.at_work(plan.container.labels.get(f"{LABEL}.run", "")):
                return await self._made(plan, report)
        except NameConflict:
            # The other process won; its container is as good as ours would have been.
            other = await self.existing(plan.container.name)
            return await (self._create(plan, report) if other is None else self.wake(other, report))

    async def _made(self, plan: Plan, report: Reporter) -> ContainerInfo:
        files = (*plan.files, *self._token(plan.container.labels))
        try:
            info = await self.engine.create(plan.container)
        except NameConflict:
            raise
        except BaseException:
            await _finish(self._remove_created(plan))
            raise
        try:
            await self.engine.put_files(info.id, files)
            report.progress(Progress("start", "Starting the container"))
            info = await self._start(info, plan)
            await self._ready(info, report)
        except BaseException:
            await _finish(self.remove(info))
            raise
        for sentence in readback.dropped(plan.container.resources, info.applied):
            report.log(f"warning: {sentence}")
        return info

    async def _start(self, info: ContainerInfo, plan: Plan) -> ContainerInfo:
        try:
            return await self.engine.start(info.id)
        except GpuUnavailable as error:
            raise with_twin(error, plan) from error

    async def _remove_created(self, plan: Plan) -> None:
        """After a create that failed or was cancelled: the engine may have made the container all the same."""
        with suppress(ContainerNotFound):
            info = await self.engine.inspect(plan.container.name)
            if info.status == "created":
                await self.engine.remove(info.id)
                self._forget(info.labels)
            return
        self._forget(plan.container.labels)

    async def _ready(self, info: ContainerInfo, report: Reporter) -> None:
        report.progress(Progress("start", "Waiting for the environment to answer"))
        checked = time.monotonic()

        async def still_running() -> None:
            nonlocal checked
            if time.monotonic() - checked < CHECK_EVERY:
                return
            checked = time.monotonic()
            now = await self.engine.inspect(info.id)
            if now.status != "running":
                raise await self._exited(now)

        client = await self.client(info)
        try:
            await client.ready(self.settings.start_timeout, still_running)
        except ContainerNotFound as error:
            raise EnvironmentFailed("The environment was removed while it started.", hint="Start it again.") from error

    async def _exited(self, info: ContainerInfo) -> ContainerExited:
        log = [line async for line in self.engine.logs(info.id, tail=20)]
        python = planning.from_label(info.labels.get(f"{LABEL}.plan", "")).python
        reason = f"with exit code {info.exit_code}"
        hint = "The log below says why."
        if info.oom_killed:
            reason, hint = "because it ran out of memory", "Give it more with --memory, or in the preset."
        elif old := next(filter(None, map(TOO_OLD.search, log)), None):
            reason = f"because {python} in its image {info.image} is Python {old[1]}, and {old[2]} or newer is needed"
            hint = "Use an image with a newer Python, or name another that it has in the preset: image.python."
            if python == self.settings.host_python:
                hint = "Choose another interpreter of this machine with --MlenvConfig.host_python."
        elif info.exit_code in CANNOT_RUN:
            reason = f"because its image {info.image} has no {python} that runs"
            hint = "Use an image with Python 3.8 or newer, or name the one it has in the preset: image.python."
        return ContainerExited(
            f"The container of {info.labels.get(f'{LABEL}.id', info.name)} stopped as soon as it started, {reason}.",
            hint=hint,
            details={"exit_code": info.exit_code, "oom_killed": info.oom_killed},
            log=log,
        )

    def check(self, info: ContainerInfo) -> None:
        """Refuse a container whose token lies where code inside can put another file, or a link, in its place.

        Earlier versions made such ones. Raises `EnvironmentFailed`.
        """
        labels = info.labels
        if readback.guarded(planning.from_label(labels.get(f"{LABEL}.plan", "{}"))):
            return
        id, preset = labels.get(f"{LABEL}.id", info.name), labels.get(f"{LABEL}.preset", "")
        raise EnvironmentFailed(
            f"The environment {id} was made by an older version of jupyter_mlenv. What runs in it could read files of "
            "this machine, so it is not used any more.",
            hint=f"Make it anew: jupyter mlenv start {preset} --workspace '{labels.get(f'{LABEL}.workspace', '')}' "
            "--recreate. Packages that were installed inside go with it; the project's files stay.",
            details={"environment": id},
        )

    def _token(self, labels: Mapping[str, str]) -> tuple[FileEntry, ...]:
        """The agent's token as a file of the container."""
        run_dir = labels.get(f"{LABEL}.run", "")
        text = rundir.token(run_dir) if run_dir else rundir.new_token()
        return (FileEntry(TOKEN_PATH, text.encode(), 0o600, self.settings.uid, self.settings.gid),)

    def _prepare(self, labels: Mapping[str, str]) -> None:
        run_dir = labels.get(f"{LABEL}.run", "")
        if run_dir:
            rundir.prepare(self.settings.run_root, run_dir)

    def _forget(self, labels: Mapping[str, str]) -> None:
        run_dir = labels.get(f"{LABEL}.run", "")
        if run_dir:
            rundir.remove(self.settings.run_root, run_dir)


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Clean up to the end even when cancelled meanwhile; the error that led here matters more than the cleanup's."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError, MlenvError):
            await asyncio.shield(task)
    if not task.cancelled():
        task.exception()


def _older(created: str, seconds: float) -> bool:
    """Whether an ISO 8601 time in UTC lies more than `seconds` back; false where the engine gives none."""
    if not created:
        return False
    # Engines write nanoseconds; Python reads microseconds.
    text = created.rstrip("Z").split(".")[0].split("+")[0]
    age = datetime.now(timezone.utc) - datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return age.total_seconds() > seconds
