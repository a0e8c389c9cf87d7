"""The adapters of engines by kind: ours, and those that other packages bring with an entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .base import Engine

GROUP = "jupyter_mlenv.engines"
"""The group of entry points. Each names a function that takes `EngineOptions` and returns an `Engine`."""

OURS = {"docker": "jupyter_mlenv.engines.docker:create", "podman": "jupyter_mlenv.engines.podman:create"}
"""Looked at first: a search of all installed packages takes about as long as the rest of the command line's start."""


@dataclass(frozen=True)
class EngineOptions:
    """The settings that an adapter gets.

    Parameters
    ----------
    url
        Where the engine listens; empty: the adapter finds out.
    threads
        Blocking calls at the same time.
    shares_filesystem
        Whether a unix socket in a mounted directory works on both sides; `None`: the adapter finds out.
    builder
        Which builder to use; `auto`: the best that the engine has.
    publish_host
        The address of the engine's host at which ports are published; empty: the adapter finds out.
    """

    url: str = ""
    threads: int = 8
    shares_filesystem: bool | None = None
    builder: Literal["auto", "buildkit", "classic"] = "auto"
    publish_host: str = ""


def create(kind: str, options: EngineOptions) -> Engine:
    """Make the adapter of this kind; it connects with its first call.

    Raises KeyError for a kind that nobody brings.
    """
    factory = _ours(kind) or _theirs(kind)
    if factory is None:
        raise KeyError(kind)
    return factory(options)


def kinds() -> list[str]:
    """The names that `create` knows, in order."""
    return sorted({*OURS, *importlib.metadata.entry_points(group=GROUP).names})


def _ours(kind: str) -> Callable[[EngineOptions], Engine] | None:
    if kind not in OURS:
        return None
    module, _, name = OURS[kind].partition(":")
    found: Callable[[EngineOptions], Engine] = getattr(importlib.import_module(module), name)
    return found


def _theirs(kind: str) -> Callable[[EngineOptions], Engine] | None:
    for entry in importlib.metadata.entry_points(group=GROUP, name=kind):
        found: Callable[[EngineOptions], Engine] = entry.load()
        return found
    return None
