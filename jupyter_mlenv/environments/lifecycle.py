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
from ..container_layout import LABEL, TOKEN_PATH
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
from ..planning import container_files, label, person
from ..planning.model import Plan
from ..settings import Settings
from ..workers import off_loop
from . import agents, from_container, run_directory, start_check, start_failure, trash
from .locks import Locks

FOREIGN_START_SECONDS = 10.0
"""The time that another process gets between creating a container and starting it, where no lock tells whether it still
lives; usually it takes 0.1."""

LOCK_PATIENCE_SECONDS = 60.0
"""The time that another process may work on an environment, beside the time for its agent to answer."""

SILENCE_SECONDS = 3.0
"""The time without an answer after which it is looked whether the agent is heard at all; it usually takes 0.2."""

CHECK_INTERVAL_SECONDS = 0.25
"""The time between two looks whether the container still runs while its agent is awaited."""


@dataclass(frozen=True)
class Lifecycle:
    """The steps that start and remove containers; beside the locks it holds no state of its own."""

    engine: Engine
    settings: Settings
    locks: Locks

    def held(self, id: str) -> AbstractAsyncContextManager[bool]:
        """Hold the environment's lock while its container is changed; see `Locks.held`."""
        return self.locks.held(id, self.settings.start_timeout + LOCK_PATIENCE_SECONDS)

    async def ensure_running(self, plan: Plan, report: Reporter, *, recreate: bool = False) -> ContainerInfo:
        """The running container of this plan with its agent ready, made or started as needed.

        Holds the lock but while an image is pulled or built: what is there goes on meanwhile, also if that fails.
        Raises what the engine raises, `ContainerExited`, `AgentUnreachable`, `GpuUnavailable`, and what
        `startcheck.checked` raises.
        """
        # Before the lock is waited for: whoever holds it may be making anew what this is to replace.
        old, ensured = await self._container_id(plan.container.name) if recreate else "", False
        while True:
            async with self.held(plan.id) as sure:
                info = await self.find_container(plan.container.name, sure=sure)
                # One that another process made anew meanwhile, with the same wishes, is as good as ours would be.
                fresh = info is not None and (info.id != old or not recreate) and _same_plan(info, plan, recreate)
                if info is not None and fresh:
                    return await self.start_stopped(info, report)
                if ensured:
                    if info is not None:
                        await self.remove(info)
                    return await self._create(plan, report, sure=sure)
            image = await Images(self.engine, self.settings).ensure(plan, report)
            plan = container_files.with_entrypoint(plan, image.entrypoint)
            ensured = True

    async def start_stopped(self, info: ContainerInfo, report: Reporter) -> ContainerInfo:
        """Start a container that exists, unless it runs, and wait for its agent. The lock is held.

        Raises what `from_container.require_guarded`, `start_check.checked` and `start_check.check_again` raise; then it
        is left, or again, stopped.
        """
        from_container.require_guarded(info)
        if info.status != "exited":  # paused: nothing is mounted anew
            info = info if info.status == "running" else await self.engine.start(info.id)
            await self._ready(info, report)
            return info
        async with self._checked(info) as check:
            report.progress(Progress("start", "Starting the container"))
            self._prepare(info.labels, anew=True)
            # Anew each time: the run directory may have been lost, and code inside may have changed its own.
            with suppress(EngineError):  # of a mount that is gone: the start says which one
                await self.engine.put_files(info.id, await self._token(info.labels))
            try:  # a start that is cancelled goes on in the engine, and nobody would look at what it mounted
                info = await self.engine.start(info.id)
                await self._ready(info, report, check)
            except BaseException:
                await _finish(self.engine.stop(info.id, 5))
                raise
        return info

    async def require_startable(self, info: ContainerInfo) -> None:
        """Look whether a running one could be started now, before it is stopped. Raises what `start_stopped` raises."""
        async with self._checked(info):
            pass

    async def settled(self, id: str) -> None:
        """Wait for whoever is changing the environment; no engine call.

        Whoever has just started it looks first at what it has mounted, and may stop it again. Raises EnvironmentBusy.
        """
        async with self.held(id):
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

    async def find_container(self, name: str, *, sure: bool) -> ContainerInfo | None:
        """The container of this name, unless it is a leftover of a start that died half-way.

        `sure`: the lock is held against other processes, so that none of them is about to start it. Raises
        NameConflict for a container that is not the owner's, EnvironmentBusy for one that stays in a state that leads
        to none of these.
        """
        deadline = time.monotonic() + FOREIGN_START_SECONDS
        while True:
            try:
                info = await self.engine.inspect(name)
                self._check_owner(info)
                if info.status in ("running", "exited", "paused"):
                    return info
                late = time.monotonic() > deadline
                old = timestamps.age(info.created) > timedelta(seconds=FOREIGN_START_SECONDS)
                if info.status == "dead" or (info.status == "created" and (sure or late or old)):
                    await self.remove(info)
                    return None
                if late:
                    raise EnvironmentBusy(
                        f'The engine says that the container {info.name} is "{info.status}", for more than '
                        f"{FOREIGN_START_SECONDS:.0f} s now. It can be neither used nor started meanwhile.",
                        hint="Wait for the end of that. If it has none: jupyter mlenv rm "
                        f"{info.labels.get(f'{LABEL}.id', info.name)}",
                        details={"container": info.name, "status": info.status},
                    )
            except ContainerNotFound:
                return None
            await asyncio.sleep(0.05)

    async def _container_id(self, name: str) -> str:
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
                return await self._create_and_start(plan, report, check)
            except NameConflict:
                # Without locks another process can win; its container is as good as ours would have been.
                other = await self.find_container(plan.container.name, sure=sure)
                if other is None:
                    self._prepare(plan.container.labels)
                    return await self._create_and_start(plan, report, check)
                return await self.start_stopped(other, report)

    async def _create_and_start(self, plan: Plan, report: Reporter, check: start_check.StartCheck) -> ContainerInfo:
        files = (*plan.files, *await self._token(plan.container.labels))
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
        for sentence in plan.notes:
            report.note(sentence)
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
            if time.monotonic() - checked < CHECK_INTERVAL_SECONDS:
                return
            checked = time.monotonic()
            now = await self.engine.inspect(info.id)
            if now.status != "running":
                raise await start_failure.why(self.engine, self.settings, now)
            if unheard is not None and checked - begun > SILENCE_SECONDS:
                waiting, unheard = unheard, None
                await waiting.hear(self.engine, info.id)

        try:
            client = await agents.client(self.engine, info)
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

    async def _token(self, labels: Mapping[str, str]) -> tuple[FileEntry, ...]:
        """The agent's token as a file of the container."""
        run_dir = labels.get(f"{LABEL}.run", "")
        text = run_directory.token(run_dir) if run_dir else run_directory.new_token()
        owner = person.inside(self.settings, await self.engine.facts())
        return (FileEntry(TOKEN_PATH, text.encode(), 0o600, owner.uid, owner.gid),)

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
    """Return whether a container is as good as what the plan would make: any is, unless it is to be made anew."""
    return not recreate or label.from_label(info.labels.get(f"{LABEL}.plan", "")).hash == plan.hash
