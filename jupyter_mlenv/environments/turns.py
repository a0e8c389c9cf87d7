"""Turns: only so many of one kind of work at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

Told: TypeAlias = Callable[[int], None]
"""Hears how many are before one in the queue, at each change."""


def unheard(before: int) -> None:
    """For whoever does not want to hear it."""


class Turns:
    """A queue in front of work that keeps a processor busy, such as the start of a JupyterLab.

    Twenty at once on two processors take as long for each as for all of them, and each runs into its time limit.

    Parameters
    ----------
    at_once
        How many may work at the same time.
    patience
        Seconds after which one that still works no longer counts: it may be waiting for something, and the others are
        not to wait with it.
    """

    def __init__(self, at_once: int, patience: float) -> None:
        self._free = at_once
        self._patience = patience
        self._waiting: list[tuple[asyncio.Future[None], Told]] = []

    @asynccontextmanager
    async def turn(self, told: Told) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. `told` hears, at each change, how many are before this one."""
        await self._wait(told)
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._next()

        timer = asyncio.get_running_loop().call_later(self._patience, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    async def _wait(self, told: Told) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        entry = asyncio.get_running_loop().create_future(), told
        self._waiting.append(entry)
        told(len(self._waiting))
        try:
            await entry[0]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._tell()
            else:  # it was given the turn at the same moment
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting:
            future, _ = self._waiting.pop(0)
            if not future.done():
                future.set_result(None)
                self._tell()
                return
        self._free += 1

    def _tell(self) -> None:
        for before, (_, told) in enumerate(self._waiting, 1):
            told(before)
