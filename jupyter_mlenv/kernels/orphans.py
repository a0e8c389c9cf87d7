"""Kernels that a process left behind which is no more, such as a server that was killed."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ..agent_client.routes import within
from ..environments import run_directory
from ..errors import MlenvError
from ..settings import Settings
from .signed_record import Notes

AGENT_TIMEOUT_SECONDS = 5.0
"""Seconds that an agent has to say which kernels it has; a container that is paused says nothing."""


async def orphans(settings: Settings, notes: Notes) -> list[dict[str, Any]]:
    """Return the notes about kernels that live, that nobody is connected to, and that this server has started.

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
        agent = run_directory.agent(run_dir)
        kernels = await within(AGENT_TIMEOUT_SECONDS, agent.kernels.list())
    except (MlenvError, TimeoutError):  # of an environment that does not run
        return []
    alone = [kernel for kernel in kernels if kernel.state == "ready" and not kernel.holders]
    read = ((kernel, notes.read(kernel.note)) for kernel in alone)
    return [note for kernel, note in read if note and note["info"]["kernel_id"] == kernel.id]
