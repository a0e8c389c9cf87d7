"""The Docker adapter: the only package that imports `docker`, and only on first use (it takes 0.1 to 0.3 s)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import DockerEngine

if TYPE_CHECKING:
    from ..registry import EngineOptions

__all__ = ["DockerEngine", "create"]


def create(options: EngineOptions) -> DockerEngine:
    """Make the adapter, as the registry of engines wants it."""
    return DockerEngine(
        options.url or None,
        threads=options.threads,
        shares_filesystem=options.shares_filesystem,
        builder=options.builder,
        publish_host=options.publish_host,
    )
