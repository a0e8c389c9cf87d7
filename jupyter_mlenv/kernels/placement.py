"""The placement of a kernel: the environment of a preset for a notebook's folder, found or started, never built."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .. import timestamps, workspaces
from ..agent_client import AgentClient, KernelRequest
from ..container_layout import LABEL, RUN_DIR
from ..engines.model import Mount
from ..environments import Environments, run_directory
from ..environments.model import Environment, State
from ..errors import (
    AgentUnreachable,
    ContainerNotFound,
    EnvironmentFailed,
    EnvironmentNotFound,
    EnvironmentNotRunning,
    ImageNotFound,
    MlenvError,
    WorkspaceForbidden,
)
from ..planning import consent, label
from ..planning.model import (
    ISOLATED,
    LEFTOVER_AGE_SECONDS,
    StartRequest,
    container_name,
    environment_id,
    run_directory_of,
)
from ..presets import loader
from ..presets.model import KernelOptions, Preset
from ..workers import off_loop

RETRY_DELAYS_SECONDS = (0.1, 0.2, *(0.4,) * 30)
"""Seconds between attempts to use an environment that is stopped, removed or restarted; an engine grants it ten."""

TRANSIENT_ERRORS = (AgentUnreachable, ContainerNotFound, EnvironmentNotFound, EnvironmentNotRunning)
"""Errors that it gives meanwhile."""

START_TIMEOUT_SECONDS = 60.0
"""From the start of a kernel's process to bound sockets."""

T = TypeVar("T")


@dataclass(frozen=True)
class KernelTarget:
    """The environment that a kernel is wanted in, and the folder, in paths of this machine.

    An empty `cwd` is the server's root directory, without a server the process's own. `workspace` may be empty.
    """

    preset: str
    cwd: str
    kernel_id: str
    workspace: str = ""
    name: str = ""


@dataclass(frozen=True)
class Placement:
    """A running environment for a kernel. `cwd` is the kernel's folder as the environment sees it."""

    environment: str
    workspace: str
    run_dir: str
    agent: AgentClient
    cwd: str
    options: KernelOptions
    sockets: str  # where this machine has the kernel's sockets: the run directory, or one of its own for a forwarder
    isolated: bool = False

    def request(
        self,
        connection: Mapping[str, Any],
        *,
        argv: Sequence[str] = (),
        env: Mapping[str, str],
        grace: float,
        note: Mapping[str, Any] | None = None,
    ) -> KernelRequest:
        """Return the request for a kernel here; an `argv` that a kernelspec gives goes before the preset's."""
        return KernelRequest(
            connection,
            argv=None if self.options.spec else list(argv) or list(self.options.argv) or None,
            spec=self.options.spec,
            env=env,
            cwd=self.cwd,
            preload=self.options.preload,
            fork=self.options.fork,
            timeout=START_TIMEOUT_SECONDS,
            grace=grace,
            note=note or {},
            alone=self.isolated,
        )


async def find(environments: Environments, target: KernelTarget) -> Placement:
    """Return the environment for this kernel, started if it is stopped or not there; one engine call where it runs.

    Raises
    ------
    ConsentRequired
        The preset comes with the notebook's project, and nobody has agreed to it. An environment that is there already
        is used as it was made.
    ImageNotFound
        The preset has no ready image; the hint is the command that builds or pulls it.
    WorkspaceForbidden
        The folder is in no mount of the environment, or can be no workspace; the hint says what to do.
    MlenvError
        What else finding the preset or starting the environment raises.
    """
    return await _settled("", lambda: _find(environments, target))


async def run_in(
    environments: Environments, target: KernelTarget, place: Placement, work: Callable[[Placement], Awaitable[None]]
) -> Placement:
    """Return the placement where `work` succeeded: another one if the environment was being stopped or removed."""
    given: Placement | None = place

    async def attempt() -> Placement:
        nonlocal given
        given, here = None, given or await _find(environments, target)
        await work(here)
        return here

    return await _settled(place.environment, attempt)


async def _settled(id: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what `attempt` gives, which is made again while the environment that it wants is on its way out."""
    for pause in RETRY_DELAYS_SECONDS:
        try:
            return await attempt()
        except TRANSIENT_ERRORS:
            await asyncio.sleep(pause)
    try:
        return await attempt()
    except TRANSIENT_ERRORS as error:
        id = id or error.details.get("environment", "")
        if not id:
            raise
        raise EnvironmentFailed(
            f"No kernel can start in the environment {id}. {error.message}",
            hint=f"Restart the environment: jupyter mlenv restart {id}",
            details={"environment": id},
        ) from error


async def _find(environments: Environments, target: KernelTarget) -> Placement:
    there = await environments.known()
    running = [e.workspace for e in there if e.preset == target.preset and e.state is State.RUNNING]
    workspace, cwd = await off_loop(_folders, target, environments, running)
    presets, broken = await environments.presets(workspace)
    preset = loader.find(target.preset, presets, broken)
    name = target.name
    if preset.kernel.isolate:
        name = f"{ISOLATED}{target.kernel_id}"
        await sweep(environments, [e for e in there if e.preset == preset.name and e.name.startswith(ISOLATED)])
    id = environment_id(environments.settings.owner, workspace, preset.name, name)
    environment = next((e for e in there if e.id == id), None)
    if environment is None:
        consent.require(preset)
    if environment is None or environment.state is not State.RUNNING:
        environment = await _start(environments, preset, environment, StartRequest(preset.name, workspace, name))
    place = Placement(
        environment=id,
        workspace=workspace,
        run_dir=environment.run_dir,
        agent=await client(environments, environment),
        cwd=cwd,
        options=preset.kernel if preset.consent is None else await _options(environments, id),
        sockets=sockets(environments, environment),
        isolated=preset.kernel.isolate,
    )
    if mapped(cwd, [Mount(workspace, workspace)]):
        return place
    return replace(place, cwd=await _visible(environments, place, preset))


async def client(environments: Environments, environment: Environment) -> AgentClient:
    """Return the agent of a running environment, once nobody is changing that.

    No engine call where its socket is in a directory of this machine. Raises AgentUnreachable, EnvironmentBusy and what
    `Environments.agent` raises.
    """
    if environment.run_dir:
        await environments.settled(environment.id)
        try:
            return run_directory.agent(environment.run_dir)
        except MlenvError as error:  # removed since we were told of it
            raise AgentUnreachable(error.message, details={"environment": environment.id}) from error
    return await environments.agent(environment.id)


def sockets(environments: Environments, environment: Environment) -> str:
    """Return the folder of this machine with the sockets of an environment's kernels."""
    return environment.run_dir or run_directory_of(environments.settings.run_root, environment.id)


def _folders(target: KernelTarget, environments: Environments, running: Sequence[str]) -> tuple[str, str]:
    """Return the workspace, and the notebook's folder without links."""
    settings = environments.settings
    cwd = os.path.realpath(target.cwd or settings.root_dir or os.getcwd())
    if target.workspace:
        return workspaces.check(target.workspace, settings), cwd
    return workspaces.find(cwd, settings, running), cwd


async def _start(
    environments: Environments, preset: Preset, environment: Environment | None, request: StartRequest
) -> Environment:
    to_be_made = environment is None or environment.state is State.PENDING  # by a click, say, that waits for a build
    if to_be_made and not preset.uses_host_python:
        ready = await environments.ready([preset], request.workspace, seconds=None)
        if not ready[preset.name]:
            raise not_ready(preset, request.workspace, being_built=environment is not None)
    unasked = preset.consent is not None  # what it was made from was agreed to; what the files say now was not
    if environment is not None and (
        unasked or (environment.state in (State.STOPPED, State.FAILED) and not environment.job)
    ):
        _, job = await environments.resume(environment.id)
    else:
        _, job = await environments.start(request)
    try:
        return await job.wait()
    except AgentUnreachable as error:  # after all the time that a start has
        raise EnvironmentFailed(error.message, hint=error.hint, details=error.details, log=error.log) from error


def not_ready(preset: Preset, workspace: str, *, being_built: bool) -> ImageNotFound:
    """Return why a kernel of this preset cannot start yet, and what to do."""
    title = f'"{preset.title}"'
    return ImageNotFound(
        f'The image of the preset "{preset.name}" ({preset.title}) is '
        + ("being made ready just now" if being_built else "not ready")
        + ", and a kernel does not wait for a build.",
        hint=f"Start the kernel again when {title} runs; its progress is below Running in the left side bar."
        if being_built
        else f"Make it ready with `jupyter mlenv start {preset.name}` in {workspace}, or with a click on {title} in "
        "the launcher; then start the kernel again.",
        details={"preset": preset.name, "workspace": workspace},
    )


async def _options(environments: Environments, id: str) -> KernelOptions:
    """Return the kernel options that the environment was made with."""
    info = await environments.engine.inspect(container_name(id))
    return label.from_label(info.labels.get(f"{LABEL}.plan", "")).kernel


async def _visible(environments: Environments, place: Placement, preset: Preset) -> str:
    """Return the notebook's folder as the environment sees it. Raises WorkspaceForbidden if it does not."""
    info = await environments.engine.inspect(container_name(place.environment))
    plan = label.from_label(info.labels.get(f"{LABEL}.plan", ""))
    mounts = [mount for mount in plan.container.mounts if mount.target != RUN_DIR]
    if cwd := mapped(place.cwd, mounts):
        return cwd
    shown = ", ".join(
        mount.source for mount in mounts if not preset.uses_host_python or mount.source == place.workspace
    )
    raise WorkspaceForbidden(
        f"The notebook's folder {place.cwd} is not visible in the environment {place.environment}, which sees {shown}.",
        hint=f"Add a mount: jupyter mlenv start {preset.name} --workspace '{place.workspace}' "
        f"--mount '{place.cwd}' --recreate, which removes what was installed in it. "
        "Or use a kernel that is not tied to that project.",
        details={"cwd": place.cwd, "environment": place.environment, "mount": place.cwd},
    )


def mapped(path: str, mounts: Sequence[Mount]) -> str:
    """Return a path of this machine as a container with these mounts sees it; empty if it does not."""
    best = max(
        (m for m in mounts if path == m.source or path.startswith(m.source.rstrip("/") + "/")),
        key=lambda mount: len(mount.source),
        default=None,
    )
    return best.target + path[len(best.source.rstrip("/")) :] if best else ""


async def sweep(environments: Environments, isolated: Sequence[Environment]) -> None:
    """Remove environments whose one kernel has ended without anybody there to remove them."""
    for environment in isolated:
        if timestamps.age(environment.created).total_seconds() < LEFTOVER_AGE_SECONDS:
            continue
        try:
            if environment.state is State.RUNNING:
                kernels = await (await client(environments, environment)).kernels.list()
                if any(kernel.state != "exited" for kernel in kernels):
                    continue
            await environments.remove(environment.id)
        except MlenvError:
            continue  # the next one will try again
