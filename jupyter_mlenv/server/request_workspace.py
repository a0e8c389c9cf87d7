"""The workspace of a request: the one function of `workspaces.py`, with the server's root directory."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import workspaces
from ..environments.model import State
from ..errors import EngineError
from ..workers import off_loop

if TYPE_CHECKING:
    from ..environments import Environments
    from .validation import Start


async def workspace_of(start: Start, environments: Environments) -> str:
    """The absolute directory to start in. Raises WorkspaceNotFound, WorkspaceForbidden."""
    settings = environments.settings
    if start.workspace:
        return await off_loop(workspaces.check, start.workspace, settings)
    return await workspace_at(start.path, environments, start.preset)


async def workspace_at(path: str, environments: Environments, preset: str = "") -> str:
    """The workspace of a contents path; one where an environment of `preset` runs is preferred."""
    running: list[str] = []
    if preset:
        with suppress(EngineError):  # the start itself says what is wrong with the engine, with its hint
            there = await environments.known()
            running = [e.workspace for e in there if e.preset == preset and e.state is State.RUNNING]
    settings = environments.settings
    folder = os.path.join(settings.root_dir, *path.split("/")) if path else settings.root_dir
    return await off_loop(workspaces.find, folder, settings, running)
