"""Following a kernel to its end, and saying why it ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..agentclient import AgentClient
from ..environments import Environments
from ..errors import AgentUnreachable, NotFound
from . import places

PATIENCE = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to hold again a kernel whose environment runs and whose agent does not answer."""


STOPPING = (0.1, 0.2, 0.4, 0.8, 1.5)
"""Seconds between looks whether an environment whose kernel was told to end has been stopped itself."""


@dataclass(frozen=True)
class Exit:
    """How a kernel ended. `code` as of a process, negative for a signal; `gone`: its environment ended with it."""

    code: int
    reason: str = ""
    gone: bool = False


GONE = Exit(-int(signal.SIGKILL), "The kernel's environment does not answer any more.", gone=True)


async def follow(
    environments: Environments, environment: str, agent: AgentClient, id: str, asked: Callable[[], bool]
) -> Exit:
    """Hold the kernel, so that it lives, until it ends. `asked`: whether somebody wants it to end."""
    for pause in (*PATIENCE, None):
        try:
            async for event in agent.hold(id):
                if event["event"] == "kernel_exited":
                    end = told(event, environment)
                    unasked = end.code == -int(signal.SIGTERM) and not asked()
                    return (await _stopped(environments, environment, agent) if unasked else None) or end
        except NotFound:
            return Exit(-int(signal.SIGKILL), "The kernel has ended while nobody was connected to it.")
        except AgentUnreachable:
            reason = await places.why_gone(environments, environment)
            if reason:
                return Exit(-int(signal.SIGKILL), reason, gone=True)
        if pause is not None:
            await asyncio.sleep(pause)
    return GONE


async def _stopped(environments: Environments, environment: str, agent: AgentClient) -> Exit | None:
    """The end of a kernel whose environment is being stopped, which is what ends a kernel politely and unasked."""
    for pause in STOPPING:
        await asyncio.sleep(pause)
        try:
            await agent.health()
        except AgentUnreachable:
            reason = await places.why_gone(environments, environment)
            if reason:
                return Exit(-int(signal.SIGTERM), reason, gone=True)
    return None


def told(event: Mapping[str, Any], environment: str) -> Exit:
    """What the agent's notice means for a person."""
    code = event.get("exit_code")
    code = int(code) if isinstance(code, int) else -int(signal.SIGKILL)
    if event.get("oom"):
        limit = event.get("memory_limit")
        size = f", which may use {_size(limit)}" if isinstance(limit, int) else ""
        return Exit(
            code,
            f"The kernel ran out of memory in the environment {environment}{size}. Give it more in the preset "
            "(resources.memory), or with `jupyter mlenv start PRESET --memory SIZE --recreate`.",
        )
    if code < 0:
        return Exit(code, f"The kernel was ended by {_signal(-code)} in the environment {environment}.")
    return Exit(code, f"The kernel exited with code {code} in the environment {environment}." if code else "")


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
