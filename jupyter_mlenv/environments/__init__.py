"""Environments: their use cases, from start to removal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .manager import Environments

__all__ = ["Environments"]


def __getattr__(name: str) -> Any:
    """Load the use cases when they are asked for: a process that only looks into a run directory needs none of them."""
    if name != "Environments":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .manager import Environments  # noqa: PLC0415

    return Environments
