"""Bringing one environment up: image, container, agent. Failed or cancelled anywhere, nothing new is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .. import timestamps
from ..agent_client import AgentClient
from ..agent_client.routes import TcpRoute, UnixRoute
from ..container_layout import AGENT_PORT, LABEL, TOKEN_PATH
from ..engines.base import ContainerInfo, Engine
from ..engines.model import FileEntry, Progress, Reporter
from ..errors import (
    AgentUnreachable,
    ContainerNotFound,
    EngineError,
    EnvironmentBusy,
    EnvironmentFailed,
    GpuUnavailable,
    MlenvError,
    NameConflict,
)
from ..images import Images, with_twin
from ..planning import plan as planning
from ..planning.model import Plan
from ..settings import Settings
from ..workers import off_loop
from . import from_container, run_directory, start_check, start_failure, trash
from .locks import Locks

FOREIGN_START = 10.0
"""Seconds that another process gets between creating a container and starting it, where no lock tells whether it still
lives; usually it takes 0.1."""

PATIENCE = 60.0
"""Seconds that another process may work on an environment, beside the time for its agent to answer."""

UNHEARD = 3.0
"""Seconds without an answer after which it is looked whether the agent is heard at all; it usually takes 0.2."""

CHECK_EVERY = 0.25
"""Seconds between two looks whether the container still runs while its agent is awaited."""


@dataclass(frozen=True)
class Lifecycle:
    """The steps that start and remove containers; beside the locks it holds no state of its own."""

    engine: Engine
    settings: Settings
    locks: Locks

    def held(self, id: str) -> AbstractAsyncContextManager[bool]:
        """Hold the environment's lock while its container is changed; see `Locks.held`."""
        return self.locks.held(id, self.settings.start_timeout + PATIENCE)

    async def up(self, plan: Plan, report: Reporter, *, recreate: bool = False) -> ContainerInfo:
        """The running container of this plan with its agent ready, made or started as needed.

        Holds the lock but while an image is pulled or built: what is there goes on meanwhile, also if that fails.
        Raises what the engine raises, `ContainerExited`, `AgentUnreachable`, `GpuUnavailable`, and what
        `startcheck.checked` raises.
        """
        # Before the lock is waited for: whoever holds it may be making anew what this is to replace.
        old, ensured = await self._present(plan.container.name) if recreate else "", False
        while True:
            async with self.held(plan.id) as sure:
                info = await self.existing(plan.container.name, sure=sure)
                # One that another process made anew meanwhile, with the same wishes, is as good as ours would be.
                fresh = info is not None and (info.id != old or not recreate) and _same_plan(info, plan, recreate)
                if info is not None and fresh:
                    return await self.wake(info, report)
                if ensured:
                    if info is not None:
                        await self.remove(info)
                    return await self._create(plan, report, sure=sure)
            await Images(self.engine, self.settings).ensure(plan, report)
            ensured = True

    async def wake(self, info: ContainerInfo, report: Reporter) -> ContainerInfo:
        """Start a container that exists, unless it runs, and wait for its agent. The lock is held.

        Raises `EnvironmentFailed` for one that a version before made, see `check`, and what `startcheck.checked` and
        `check_again` raise; then it is left, or again, stopped.
        """
        self.check(info)
        if info.status != "exited":  # paused: nothing is mounted anew
            info = info if info.status == "running" else await self.engine.start(info.id)
            await self._ready(info, report)
            return info
        async with self._checked(info) as check:
            report.progress(Progress("start", "Starting the container"))
            self._prepare(info.labels, anew=True)
            # Anew each time: the run directory may have been lost, and code inside may have changed its own.
            with suppress(EngineError):  # of a mount that is gone: the start says which one
                await self.engine.put_files(info.id, self._token(info.labels))
            try:  # a start that is cancelled goes on in the engine, and nobody would look at what it mounted
                info = await self.engine.start(info.id)
                await self._ready(info, report, check)
            except BaseException:
                await _finish(self.engine.stop(info.id, 5))
                raise
        return info

    async def allowed(self, info: ContainerInfo) -> None:
        """Look whether it could be started now, before it is stopped to be started again. Raises as `wake` does."""
        async with self._checked(info):
            pass

    def _checked(self, info: ContainerInfo) -> AbstractAsyncContextManager[start_check.StartCheck]:
        plan = start_check.check_again(info.labels, self.settings)
        asked = start_check.asked(info.labels)
        workspace = info.labels.get(f"{LABEL}.workspace", "")
        return start_check.checked(workspace, plan.container.mounts, asked, self.settings)

    async def remove(self, info: ContainerInfo) -> None:
        """Remove the container and its run directory."""
        await self.engine.remove(info.id)
        await self._forget(info.labels)

    async def client(self, info: ContainerInfo) -> AgentClient:
        """A client for the agent of a running container. Raises `EnvironmentFailed` as `check` does."""
        self.check(info)
        run_dir = info.labels.get(f"{LABEL}.run", "")
        if run_dir:
            return AgentClient(UnixRoute(run_directory.agent_socket(run_dir)), run_directory.token(run_dir))
        if AGENT_PORT not in info.ports:
            info = await self.engine.inspect(info.id)
        if AGENT_PORT not in info.ports:
            raise AgentUnreachable(
                "The engine publishes no port of the environment, by which it is reached.",
                hint="If it has just stopped, start it again. Else its network publishes none: see `network`.",
                details={"environment": info.labels.get(f"{LABEL}.id", info.name)},
            )
        facts = await self.engine.facts()
        token = (await self.engine.read_file(info.id, TOKEN_PATH)).decode("latin-1").strip()
        return AgentClient(TcpRoute(facts.publish_host, info.ports[AGENT_PORT]), token)

    async def existing(self, name: str, *, sure: bool) -> ContainerInfo | None:
        """The container of this name, unless it is a leftover of a start that died half-way.

        `sure`: the lock is held against other processes, so that none of them is about to start it. Raises
        NameConflict for a container that is not the owner's, EnvironmentBusy for one that stays in a state that leads
        to none of these.
        """
        deadline = time.monotonic() + FOREIGN_START
        while True:
            try:
                info = await self.engine.inspect(name)
                self._check_owner(info)
                if info.status in ("running", "exited", "paused"):
                    return info
                late = time.monotonic() > deadline
                old = timestamps.age(info.created) > timedelta(seconds=FOREIGN_START)
                if info.status == "dead" or (info.status == "created" and (sure or late or old)):
                    await self.remove(info)
                    return None
                if late:
                    raise EnvironmentBusy(
                        f'The engine says that the container {info.name} is "{info.status}", for more than '
                        f"{FOREIGN_START:.0f} s now. It can be neither used nor started meanwhile.",
                        hint="Wait for the end of that. If it has none: jupyter mlenv rm "
                        f"{info.labels.get(f'{LABEL}.id', info.name)}",
                        details={"container": info.name, "status": info.status},
                    )
            except ContainerNotFound:
                return None
            await asyncio.sleep(0.05)

    async def _present(self, name: str) -> str:
        try:
            return (await self.engine.inspect(name)).id
        except ContainerNotFound:
            return ""

    def _check_owner(self, info: ContainerInfo) -> None:
        owner = info.labels.get(f"{LABEL}.owner")
        if owner != self.settings.owner:
            whose = f"belongs to {owner}" if owner else "was not made by jupyter mlenv"
            raise NameConflict(
                f"There is a container of the name {info.name} already, and it {whose}. It is left alone.",
                hint="Give your environment another name: --name.",
                details={"container": info.name},
            )

    async def _create(self, plan: Plan, report: Reporter, *, sure: bool) -> ContainerInfo:
        report.progress(Progress("create", "Creating the container"))
        asked = start_check.asked(plan.container.labels)
        async with start_check.checked(plan.workspace, plan.container.mounts, asked, self.settings) as check:
            self._prepare(plan.container.labels, anew=sure)
            try:
                return await self._made(plan, report, check)
            except NameConflict:
                # Without locks another process can win; its container is as good as ours would have been.
                other = await self.existing(plan.container.name, sure=sure)
                if other is None:
                    self._prepare(plan.container.labels)
                    return await self._made(plan, report, check)
                return await self.wake(other, report)

    async def _made(self, plan: Plan, report: Reporter, check: start_check.StartCheck) -> ContainerInfo:
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
            await self._ready(info, report, check)
        except BaseException:
            await _finish(self.remove(info))
            raise
        for sentence in from_container.dropped(plan.container.resources, info.applied):
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
                await self._forget(info.labels)
            return
        await self._forget(plan.container.labels)

    async def _ready(self, info: ContainerInfo, report: Reporter, check: start_check.StartCheck | None = None) -> None:
        report.progress(Progress("start", "Waiting for the environment to answer"))
        checked = begun = time.monotonic()
        unheard = check

        async def still_running() -> None:
            nonlocal checked, unheard
            if time.monotonic() - checked < CHECK_EVERY:
                return
            checked = time.monotonic()
            now = await self.engine.inspect(info.id)
            if now.status != "running":
                raise await start_failure.why(self.engine, self.settings, now)
            if unheard is not None and checked - begun > UNHEARD:
                waiting, unheard = unheard, None
                await waiting.hear(self.engine, info.id)

        try:
            client = await self.client(info)
        except AgentUnreachable:
            checked = 0.0
            await still_running()
            raise
        try:
            await client.ready(self.settings.start_timeout, still_running)
        except ContainerNotFound as error:
            raise EnvironmentFailed("The environment was removed while it started.", hint="Start it again.") from error
        if check is not None:
            facts = await self.engine.facts()
            await check.prove(client, same_kernel=facts.shares_filesystem)

    def check(self, info: ContainerInfo) -> None:
        """Refuse a container whose token lies where code inside can put another file, or a link, in its place.

        Earlier versions made such ones. Raises `EnvironmentFailed`.
        """
        labels = info.labels
        if from_container.guarded(planning.from_label(labels.get(f"{LABEL}.plan", "{}"))):
            return
        id, preset = labels.get(f"{LABEL}.id", info.name), labels.get(f"{LABEL}.preset", "")
        raise EnvironmentFailed(
            f"The environment {id} was made by an older version of jupyter_mlenv. What runs in it could read files of "
            "this machine, so it is not used any more.",
            hint=f"Make it anew: jupyter mlenv start {preset} --workspace '{labels.get(f'{LABEL}.workspace', '')}' "
            "--recreate. It is removed then: packages that were installed inside go with it; the project's files stay.",
            details={"environment": id},
        )

    def _token(self, labels: Mapping[str, str]) -> tuple[FileEntry, ...]:
        """The agent's token as a file of the container."""
        run_dir = labels.get(f"{LABEL}.run", "")
        text = run_directory.token(run_dir) if run_dir else run_directory.new_token()
        return (FileEntry(TOKEN_PATH, text.encode(), 0o600, self.settings.uid, self.settings.gid),)

    def _prepare(self, labels: Mapping[str, str], *, anew: bool = False) -> None:
        """Make its run directory ready; `anew`: nothing runs in it, and nobody else is about to start it."""
        run_dir = labels.get(f"{LABEL}.run", "")
        if run_dir:
            if anew:
                run_directory.renew(self.settings.run_root, run_dir)
            run_directory.prepare(self.settings.run_root, run_dir)

    async def _forget(self, labels: Mapping[str, str]) -> None:
        run_dir = labels.get(f"{LABEL}.run", "")
        if run_dir:
            run_directory.remove(self.settings.run_root, run_dir)
            await off_loop(trash.empty, self.settings.run_root)


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Clean up to the end even when cancelled meanwhile; the error that led here matters more than the cleanup's."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError, MlenvError):
            await asyncio.shield(task)
    if not task.cancelled():
        task.exception()


def _same_plan(info: ContainerInfo, plan: Plan, recreate: bool) -> bool:
    """Whether it is what a plan would make, as far as that matters: any is good enough for whoever only wants one."""
    return not recreate or planning.from_label(info.labels.get(f"{LABEL}.plan", "")).hash == plan.hash
