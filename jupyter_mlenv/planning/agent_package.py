"""The agent's files in a container, from the package `jupyter_mlenv.agent`."""

from __future__ import annotations

import functools
import importlib.resources
import os
from collections.abc import Mapping

from .. import agent
from ..container_layout import AGENT_FOLDER, AGENT_PACKAGE, AGENT_START
from ..engines.model import FileEntry


@functools.cache
def files() -> tuple[FileEntry, ...]:
    """Return the agent: what starts it, and its package with all modules."""
    package = modules()
    folders = sorted({AGENT_FOLDER, AGENT_PACKAGE, *(os.path.dirname(f"{AGENT_PACKAGE}/{name}") for name in package)})
    return (
        *(FileEntry(folder, None, 0o755) for folder in folders),
        FileEntry(AGENT_START, package["start.py"], 0o644),
        *(FileEntry(f"{AGENT_PACKAGE}/{name}", data, 0o644) for name, data in package.items()),
    )


@functools.cache
def modules() -> Mapping[str, bytes]:
    """Return the modules of the agent's package by their path in it."""
    found: dict[str, bytes] = {}
    pending = [("", importlib.resources.files(agent))]
    while pending:
        path, entry = pending.pop()
        if entry.is_dir():
            pending += [(f"{path}/{inner.name}".lstrip("/"), inner) for inner in entry.iterdir()]
        elif path.endswith(".py"):
            found[path] = entry.read_bytes()
    return dict(sorted(found.items()))
