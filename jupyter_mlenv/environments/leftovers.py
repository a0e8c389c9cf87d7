"""Run directories whose containers are gone, removed by hand or by a process that died over it."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..agent_client import unix_sockets
from ..container_layout import LABEL
from ..engines.base import Engine
from ..errors import EnvironmentBusy
from ..workers import off_loop
from . import run_directory, trash
from .locks import Locks

RUN_DIRECTORY_NAME = re.compile(r"[0-9a-f]{10}")
"""The name of a run directory: the end of its environment's id."""


async def sweep(engine: Engine, run_root: str, locks: Locks) -> list[str]:
    """Remove them; their paths. In the others, links go that lead to no kernel any more.

    Asks the engine only where there is a run directory at all.

    One whose environment somebody works on stays, also one whose agent answers: it may be another engine's. So does
    one of another machine with the same home directory, whose sockets do not answer here. Raises what the engine
    raises.
    """
    removed = []
    found = await off_loop(_directories, run_root)
    known = await _known(engine) if found else set()
    for path in found - known:
        with suppress(EnvironmentBusy):
            async with locks.held(os.path.basename(path), 0) as sure:
                if sure and path not in await _known(engine) and not await off_loop(_answers, path):
                    run_directory.remove(run_root, path)
                    removed.append(path)
    await off_loop(_tidy, run_root)
    return sorted(removed)


def _tidy(run_root: str) -> None:
    trash.empty(run_root)
    for path in _directories(run_root):
        run_directory.drop_links(path)


def _directories(run_root: str) -> set[str]:
    try:
        with os.scandir(run_root) as entries:
            folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return set()
    paths = [folder.path for folder in folders if RUN_DIRECTORY_NAME.fullmatch(folder.name)]
    return set(filter(run_directory.of_this_machine, paths))


async def _known(engine: Engine) -> set[str]:
    """The run directories of everybody's containers."""
    return {info.labels.get(f"{LABEL}.run", "") for info in await engine.list({f"{LABEL}.id": ""})}


def _answers(run_dir: str) -> bool:
    """Return whether an agent listens there."""
    try:
        unix_sockets.connect(run_directory.agent_socket(run_dir)).close()
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True
