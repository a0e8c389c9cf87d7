"""Following a kernel to its end, and saying why it ended."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traitlets.config import Application

from ..agent_client import AgentClient
from ..environments import Environments
from ..environments.model import Environment, State
from ..errors import (
    AgentUnreachable,
    ContainerNotFound,
    EnvironmentNotFound,
    KernelExited,
    KernelTimeout,
    MlenvError,
    NotFound,
)
from ..planning.model import container_name
from ..presets.model import BuiltImage, DockerfileImage, HostImage
from . import placement
from .use_cases import UseCases

HOLD_RETRY_DELAYS_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to hold again a kernel whose environment runs and whose agent does not answer."""

REMOVAL_GRACE_SECONDS = 0.5
"""Seconds that an engine may report a container as stopped which it is about to remove."""

MAX_REMOVAL_LOOKS = 20
"""Times that so many seconds are waited while it says that it removes it: a busy one takes long."""

NO_IPYKERNEL = re.compile(r"No module named '?ipykernel")
"""The words of Python, also for `-m ipykernel_launcher`."""


@dataclass(frozen=True)
class Exit:
    """The end of a kernel. `code` as of a process, negative for a signal; `gone`: its environment ended with it."""

    code: int
    reason: str = ""
    gone: bool = False


def silent(environment: str) -> Exit:
    """Return the end, as far as anybody can tell, of a kernel whose environment runs and does not answer."""
    reason = f"The environment {environment} does not answer any more. Restart it: jupyter mlenv restart {environment}"
    return Exit(-int(signal.SIGKILL), reason, gone=True)


async def follow(use_cases: UseCases, environment: str, agent: AgentClient, id: str) -> Exit:
    """Hold the kernel, so that it lives, until it ends."""
    for pause in (*HOLD_RETRY_DELAYS_SECONDS, None):
        try:
            async for event in agent.kernels.hold(id):
                if event["event"] == "kernel_exited":
                    return told(event, environment)
        except NotFound:
            reason = f"The kernel ended in the environment {environment} while nobody was connected to it."
            return Exit(-int(signal.SIGKILL), reason)
        except AgentUnreachable as error:
            if error.details.get("code") == "unauthorized":  # another container, with a token of its own
                return Exit(-int(signal.SIGKILL), f"The environment {environment} was made anew without the kernel.")
            reason = await use_cases.call(lambda environments: why_gone(environments, environment))
            if reason:
                return Exit(-int(signal.SIGKILL), reason, gone=True)
        if pause is not None:
            await asyncio.sleep(pause)
    return silent(environment)


def told(event: Mapping[str, Any], environment: str) -> Exit:
    """Return what the agent's notice means for a person."""
    code = event.get("exit_code")
    code = int(code) if isinstance(code, int) else -int(signal.SIGKILL)
    if event.get("stopping"):
        return Exit(code, was_stopped(environment), gone=True)
    if event.get("oom"):
        limit = event.get("memory_limit")
        size = f", which may use {_size(limit)}" if isinstance(limit, int) else ""
        return Exit(
            code,
            f"The kernel ran out of memory in the environment {environment}{size}. Give it more in the preset "
            f"(resources.memory), or with `jupyter mlenv start {preset_of(environment)} --memory SIZE --recreate`, "
            "which removes what was installed in it.",
        )
    if not code:
        return Exit(code)
    how = f"was ended by {_signal(-code)}" if code < 0 else f"exited with code {code}"
    log = f"What it printed: jupyter mlenv logs {environment}"
    return Exit(code, f"The kernel {how} in the environment {environment}. {log}")


async def not_started(environments: Environments, place: placement.Placement, error: MlenvError) -> MlenvError:
    """Return the agent's error about a kernel that did not start, as one that says where, why and what to do."""
    where = f"in the environment {place.environment}"
    about: dict[str, Any] = {"details": {**error.details, "environment": place.environment}, "log": error.log}
    if isinstance(error, KernelTimeout):
        hint = "The log says what it was doing; start the kernel again."
        return KernelTimeout(f"The kernel {where} was not ready in time: {error.message}", hint=hint, **about)
    if error.details.get("oom"):
        return KernelExited(told(error.details, place.environment).reason, **about)
    if any(NO_IPYKERNEL.search(line) for line in error.log):
        message = f"The kernel did not start {where}: its Python has no ipykernel."
        return KernelExited(message, hint=await _add_ipykernel(environments, place), **about)
    message = f"The kernel exited with code {error.details.get('exit_code')} {where} as soon as it started."
    return KernelExited(message, hint="The log says why.", **about)


async def _add_ipykernel(environments: Environments, place: placement.Placement) -> str:
    """Return how to add ipykernel, which depends on where the image comes from."""
    name = preset_of(place.environment)
    presets, _ = await environments.presets(place.workspace)
    image = next((preset.image for preset in presets if preset.name == name), None)
    anew = (
        "then make the environment anew, without what was installed in it: "
        f"jupyter mlenv start {name} --workspace '{place.workspace}' --recreate"
    )
    match image:
        case HostImage():
            python = environments.settings.host_python
            return f"Install it: {python} -m pip install ipykernel; then start the kernel again."
        case DockerfileImage():
            return f"Install it in the Dockerfile (RUN python3 -m pip install ipykernel), {anew}"
        case BuiltImage():
            line = 'pip = ["ipykernel"]'
        case _:
            line = "add_jupyter = true"
    return f"Write `{line}` below [image] in the preset, {anew}"


async def why_gone(environments: Environments, id: str) -> str:
    """Return what has become of the environment of a kernel that ended with it, as a sentence; empty if it runs."""
    try:
        environment = await _settled(environments, id)
    except (EnvironmentNotFound, ContainerNotFound):
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


async def _settled(environments: Environments, id: str) -> Environment:
    """Return an environment whose container is not being removed. Raises EnvironmentNotFound, ContainerNotFound."""
    environment = await environments.look(id)
    for _ in range(MAX_REMOVAL_LOOKS):
        if environment.state is State.RUNNING:
            break
        await asyncio.sleep(REMOVAL_GRACE_SECONDS)
        environment = await environments.look(id)
        if (await environments.engine.inspect(container_name(id))).status != "removing":
            break
    return environment


def was_stopped(id: str) -> str:
    """Return the sentence about a kernel whose environment was stopped."""
    return f"The environment {id} was stopped, and its kernels with it. A restart of the kernel starts it."


def preset_of(environment: str) -> str:
    """Return the name that an environment's id begins with."""
    return environment.rpartition("-")[0]


def log_of(provisioner: Any) -> Any:
    """Return the log that a person reads: an application's, else our own.

    In a program that is no application, as one that calls nbclient, what traitlets logs goes nowhere, and all that
    Jupyter says is "Kernel died".
    """
    return provisioner.log if Application.initialized() else logging.getLogger("jupyter_mlenv")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size % unit else f"{size // unit} {name}"
    return f"{size} bytes"
