"""Taking over kernels that a process left behind which is no more, such as a server that was killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager

from ..agent_client import AgentClient
from ..agent_client.routes import UnixRoute, within
from ..environments import run_directory
from ..errors import MlenvError
from ..settings import Settings
from . import loop_thread
from .signed_record import Notes

PATIENCE = 2.0
"""Seconds that an agent has to say which kernels it has; a container that is paused says nothing."""


async def orphans(settings: Settings, notes: Notes) -> list[dict[str, Any]]:
    """What is noted about kernels that live, that nobody is connected to, and that this server has started.

    It asks the agents whose sockets are in run directories on this machine, and no engine.
    """
    try:
        names = sorted(os.listdir(settings.run_root))
    except OSError:
        return []
    found = await asyncio.gather(*(_orphans(os.path.join(settings.run_root, name), notes) for name in names))
    return [note for some in found for note in some]


async def _orphans(run_dir: str, notes: Notes) -> list[dict[str, Any]]:
    try:
        agent = AgentClient(UnixRoute(run_directory.agent_socket(run_dir)), run_directory.token(run_dir))
        kernels = await within(PATIENCE, agent.kernels())
    except (MlenvError, TimeoutError):  # of an environment that does not run
        return []
    alone = [kernel for kernel in kernels if kernel.state == "ready" and not kernel.holders]
    read = ((kernel, notes.read(kernel.note)) for kernel in alone)
    return [note for kernel, note in read if note and note["info"]["kernel_id"] == kernel.id]


async def adopt(
    kernel_name: str,
    info: Mapping[str, Any],
    *,
    connection_file: str = "",
    manager: Any = None,
    launch: Mapping[str, Any] | None = None,
) -> Any:
    """A manager that owns a living kernel, as if it had started it: it can be interrupted, restarted and shut down.

    Parameters
    ----------
    info
        What the provisioner's `get_provisioner_info` said in the other process.
    connection_file
        Where the connection file is to be.
    manager
        The manager to fill; default: a new `AsyncIOLoopKernelManager`.
    launch
        What a restart passes on, such as `cwd` and `env`; default: the folder that the kernel was started in.

    Raises KernelError if the kernel has ended.
    """
    manager = manager or AsyncIOLoopKernelManager(kernel_name=kernel_name)
    manager.kernel_id = info["kernel_id"]
    if connection_file:
        manager.connection_file = connection_file
    loop_thread.shared(manager.config).offer(info)
    await manager.start_kernel(**(launch or {"cwd": info["cwd"]}))
    return manager
