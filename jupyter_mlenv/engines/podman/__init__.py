"""The Podman adapter: its service speaks Docker's API, so it is the Docker adapter in another dialect."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..docker import DockerEngine
from .dialect import Podman

if TYPE_CHECKING:
    from ..registry import EngineOptions

__all__ = ["create", "find_url"]


def create(options: EngineOptions) -> DockerEngine:
    """Make the adapter, as the registry of engines wants it."""
    return DockerEngine(
        options.url or find_url(os.environ, os.getuid()),
        threads=options.threads,
        shares_filesystem=options.shares_filesystem,
        builder="classic",
        publish_host=options.publish_host,
        dialect=Podman(),
    )


def find_url(environ: Mapping[str, str], uid: int) -> str:
    """The address of Podman's service: `CONTAINER_HOST`, else the person's own socket, for root the machine's.

    Places: podman-system-service(1).
    """
    if environ.get("CONTAINER_HOST"):
        return environ["CONTAINER_HOST"]
    if uid == 0:
        return "unix:///run/podman/podman.sock"
    return f"unix://{environ.get('XDG_RUNTIME_DIR') or f'/run/user/{uid}'}/podman/podman.sock"
