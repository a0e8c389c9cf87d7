"""The use cases as kernels have them: a server's own where one runs in this process, called in its loop.

So what a kernel starts is the job that a click joins, and what a click builds is known to the kernel.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ..environments import Environments
from ..settings import Settings

T = TypeVar("T")

BUSY_LOOP_SECONDS = 3.0
"""Seconds that a server's loop has to begin with what it is asked; one that waits for this very kernel never does."""


@dataclass(frozen=True)
class Served:
    """The use cases of a server, and the loop that they belong to."""

    environments: Environments
    loop: asyncio.AbstractEventLoop


class UseCases:
    """The use cases of a process, for one loop of kernels.

    `make()` gives use cases of that loop's own. They are made when they are needed first: in a server only where its
    loop stands still, as in a call of the synchronous `KernelManager` from that loop.
    """

    def __init__(self, make: Callable[[], Environments], settings: Settings, served: Served | None = None) -> None:
        self.settings = settings
        self._make, self._served = make, served
        self._own: Environments | None = None

    async def call(self, work: Callable[[Environments], Coroutine[Any, Any, T]]) -> T:
        """Await `work` on the use cases, in the loop that they belong to; cancelled here, it is cancelled there."""
        if self._served is None or not self._served.loop.is_running():
            return await work(self._here())
        served, begun = self._served, concurrent.futures.Future[None]()

        async def there() -> T:
            if not begun.set_running_or_notify_cancel():
                raise asyncio.CancelledError  # nobody waits any more
            return await work(served.environments)

        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), served.loop))
        try:
            await asyncio.wait([answer], timeout=BUSY_LOOP_SECONDS)
            if answer.done() or not begun.cancel():
                return await answer
        finally:
            answer.cancel()
        return await work(self._here())

    async def close(self) -> None:
        """Let go of what was made here; a server's are closed by the server."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    def _here(self) -> Environments:
        if self._own is None:
            self._own = self._make()
        return self._own
