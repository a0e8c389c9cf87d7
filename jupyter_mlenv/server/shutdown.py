"""The end of the server comes in time, whatever kernels do that it shuts down.

A Jupyter server that was told to end shuts down its kernels first, and goes on for ever if that raises or takes for
ever. It raises if the start of any kernel has ever failed: the number of such a kernel stays among those that are being
started (`jupyter_client.multikernelmanager`, `_add_kernel_when_ready`), and is then not found.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol, cast

from jupyter_client.multikernelmanager import MultiKernelManager

SHUTDOWN_TIMEOUT_SECONDS = 9.5
"""Seconds from the signal to end until kernels are left to themselves: `docker stop` kills after 10 s."""


class _Shutdown(Protocol):
    async def __call__(self, now: bool = False) -> None: ...


def bound_shutdown(manager: MultiKernelManager, log: logging.Logger, began: float) -> None:
    """Make `manager.shutdown_all()` end in time, counted from `began` (monotonic seconds), and raise nothing."""
    shutdown_all = cast(_Shutdown, manager.shutdown_all)

    async def bounded(now: bool = False) -> None:
        _forget_starts(manager)
        left = max(1.0, SHUTDOWN_TIMEOUT_SECONDS - (time.monotonic() - began))
        shutdown = asyncio.ensure_future(shutdown_all(now=now))
        _, late = await asyncio.wait([shutdown], timeout=left)
        if late:
            shutdown.cancel()
            log.warning(
                "Kernels could not be shut down within %g s; they end without the server.", SHUTDOWN_TIMEOUT_SECONDS
            )
        elif not shutdown.cancelled() and (error := shutdown.exception()):
            log.warning("Not every kernel could be shut down: %s", error)

    manager.shutdown_all = bounded  # type: ignore[method-assign, assignment]


def _forget_starts(manager: MultiKernelManager) -> None:
    """Forget starts that failed, and cancel those under way, which nobody waits for any more."""
    starting = cast("dict[str, asyncio.Future[Any]]", manager._pending_kernels)
    there = set(manager.list_kernel_ids())
    for id, task in list(starting.items()):
        if id not in there:
            task.cancel()
            del starting[id]
