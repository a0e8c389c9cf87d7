"""Where a kernel runs: the environment of a preset for the notebook's folder, found or started, never built."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .. import timestamps, workspaces
from ..agent_client import AgentClient
from ..agent_client.routes import UnixRoute
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
from ..planning.model import ISOLATED, StartRequest, container_name, environment_id
from ..presets import loader
from ..presets.model import KernelOptions, Preset
from ..workers import off_loop

LEFTOVER_AGE = 120.0
"""Seconds after which an isolated environment without a kernel is the leftover of a process that died."""

REMOVAL = 0.5
"""Seconds that an engine may report a container as stopped which it is removing."""


ENDING = (0.1, 0.2, *(0.4,) * 30)
"""Seconds between attempts to use an environment that somebody stops, removes or restarts; an engine gives one ten."""

GOING = (AgentUnreachable, ContainerNotFound, EnvironmentNotFound, EnvironmentNotRunning)
"""What that looks like meanwhile."""

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What a kernelspec and whoever starts the kernel ask for, in paths of this machine.

    An empty `cwd` is the server's root directory, without a server the process's own. `workspace` may be empty.
    """

    preset: str
    cwd: str
    kernel_id: str
    workspace: str = ""
    name: str = ""


@dataclass(frozen=True)
class Place:
    """A running environment, and what a kernel in it needs. `cwd` is the folder as the environment sees it."""

    environment: str
    workspace: str
    run_dir: str
    agent: AgentClient
    cwd: str
    options: KernelOptions
    sockets: str  # where this machine has the kernel's sockets: the run directory, or one of its own for a relay
    isolated: bool = False


async def find(environments: Environments, wish: Wish) -> Place:
    """The environment for this kernel, started if it is stopped or not there; one engine call where it runs.

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
    return await _settled("", lambda: _find(environments, wish))


async def use(environments: Environments, wish: Wish, place: Place, work: Callable[[Place], Awaitable[None]]) -> Place:
    """The place where `work` succeeded, which is another than `place` if that was being stopped or removed."""
    given: Place | None = place

    async def attempt() -> Place:
        nonlocal given
        given, here = None, given or await _find(environments, wish)
        await work(here)
        return here

    return await _settled(place.environment, attempt)


async def _settled(id: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` gives, which is made again while the environment that it wants is on its way out."""
    for pause in ENDING:
        try:
            return await attempt()
        except GOING:
            await asyncio.sleep(pause)
    try:
        return await attempt()
    except GOING as error:
        id = id or error.details.get("environment", "")
        if not id:
            raise
        raise EnvironmentFailed(
            f"No kernel can start in the environment {id}. {error.message}",
            hint=f"Restart the environment: jupyter mlenv restart {id}",
            details={"environment": id},
        ) from error


async def _find(environments: Environments, wish: Wish) -> Place:
    there = await environments.known()
    running = [e.workspace for e in there if e.preset == wish.preset and e.state is State.RUNNING]
    workspace, cwd = await off_loop(_folders, wish, environments, running)
    presets, broken = await environments.presets(workspace)
    preset = loader.find(wish.preset, presets, broken)
    name = wish.name
    if preset.kernel.isolate:
        name = f"{ISOLATED}{wish.kernel_id}"
        await sweep(environments, [e for e in there if e.preset == preset.name and e.name.startswith(ISOLATED)])
    id = environment_id(environments.settings.owner, workspace, preset.name, name)
    environment = next((e for e in there if e.id == id), None)
    if environment is None:
        consent.require(preset)
    if environment is None or environment.state is not State.RUNNING:
        environment = await _start(environments, preset, environment, StartRequest(preset.name, workspace, name))
    place = Place(
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
    """The agent of a running environment, once nobody is changing that.

    No engine call where its socket is in a directory of this machine. Raises AgentUnreachable, EnvironmentBusy and what
    `Environments.agent` raises.
    """
    if environment.run_dir:
        await environments.settled(environment.id)
        try:
            return AgentClient(
                UnixRoute(run_directory.agent_socket(environment.run_dir)), run_directory.token(environment.run_dir)
            )
        except MlenvError as error:  # removed since we were told of it
            raise AgentUnreachable(error.message, details={"environment": environment.id}) from error
    return await environments.agent(environment.id)


def sockets(environments: Environments, environment: Environment) -> str:
    """Where this machine has the sockets of an environment's kernels."""
    return environment.run_dir or os.path.join(environments.settings.run_root, environment.id[-10:])


async def why_gone(environments: Environments, id: str) -> str:
    """What has become of the environment of a kernel that ended with it, as a sentence; empty if it runs."""
    try:
        environment = await environments.look(id)
        if environment.state is not State.RUNNING:
            await asyncio.sleep(REMOVAL)
            environment = await environments.look(id)
    except EnvironmentNotFound:
        return f"The environment {id} was removed, and its kernels with it. A restart of the kernel makes it anew."
    except MlenvError as error:
        return f"The kernel ended with its environment {id}. {error.message} {error.hint}".strip()
    if environment.state is State.RUNNING:
        return ""
    if environment.oom_killed:
        return (
            f"The environment {id} ran out of memory and stopped, and its kernels with it. Give it more in the preset "
            "(resources.memory); a restart of the kernel starts it."
        )
    return was_stopped(id)


def was_stopped(id: str) -> str:
    return f"The environment {id} was stopped, and its kernels with it. A restart of the kernel starts it."


def _folders(wish: Wish, environments: Environments, running: Sequence[str]) -> tuple[str, str]:
    """The workspace, and the notebook's folder without links."""
    settings = environments.settings
    cwd = os.path.realpath(wish.cwd or settings.root_dir or os.getcwd())
    if wish.workspace:
        return workspaces.check(wish.workspace, settings), cwd
    return workspaces.find(cwd, settings, running), cwd


async def _start(
    environments: Environments, preset: Preset, environment: Environment | None, request: StartRequest
) -> Environment:
    if environment is None and not preset.uses_host_python:
        ready = await environments.ready([preset], request.workspace, seconds=None)
        if not ready[preset.name]:
            raise ImageNotFound(
                f'The image of the preset "{preset.name}" ({preset.title}) is not ready, and a kernel does not wait '
                "for a build.",
                hint=f"Make it ready with `jupyter mlenv start {preset.name}` in {request.workspace}, or with a click "
                f'on "{preset.title}" in the launcher; then start the kernel again.',
                details={"preset": preset.name, "workspace": request.workspace},
            )
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


async def _options(environments: Environments, id: str) -> KernelOptions:
    """How kernels start by what the environment was made from."""
    info = await environments.engine.inspect(container_name(id))
    return label.from_label(info.labels.get(f"{LABEL}.plan", "")).kernel


async def _visible(environments: Environments, place: Place, preset: Preset) -> str:
    """The notebook's folder as the environment sees it. Raises WorkspaceForbidden if it does not."""
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
    """A path of this machine as a container with these mounts sees it; empty if it does not."""
    best = max(
        (m for m in mounts if path == m.source or path.startswith(m.source.rstrip("/") + "/")),
        key=lambda mount: len(mount.source),
        default=None,
    )
    return best.target + path[len(best.source.rstrip("/")) :] if best else ""


async def sweep(environments: Environments, isolated: Sequence[Environment]) -> None:
    """Remove environments whose one kernel has ended without anybody there to remove them."""
    for environment in isolated:
        if timestamps.age(environment.created).total_seconds() < LEFTOVER_AGE:
            continue
        try:
            if environment.state is State.RUNNING:
                kernels = await (await client(environments, environment)).kernels()
                if any(kernel.state != "exited" for kernel in kernels):
                    continue
            await environments.remove(environment.id)
        except MlenvError:
            continue  # the next one will try again
