"""The engine's disk: how it says that it is full, and how a person makes room."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import DiskFull

FULL = ("no space left on device", "disk quota exceeded")
"""What a message says of a full disk, in lower case."""

MAKE_ROOM = (
    "`docker system df` shows what takes space. `docker builder prune` empties the cache of builds, which then take "
    "longer once; `docker image prune` removes images without a name. Both leave environments as they are."
)
"""How to make room on an engine's disk without losing what somebody has installed."""


def disk_full(text: str, log: Sequence[str] = ()) -> DiskFull:
    """Also used for a build step whose output says so."""
    return DiskFull(
        f"The engine's disk is full: {text}",
        hint=MAKE_ROOM,
        details={"engine_message": text},
        log=log,
    )
