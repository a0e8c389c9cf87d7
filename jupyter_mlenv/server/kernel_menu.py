"""Keeps the kernel menu in step with the engine: a kernel for each preset whose image is ready, as they come and go."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from jupyter_core.paths import jupyter_data_dir, jupyter_path

from ..environments import Environments
from ..environments.model import State
from ..errors import MlenvError
from ..kernels import kernelspec, kernelspec_store, placement
from ..planning.model import ISOLATED
from ..workers import off_loop

PAUSE_SECONDS = 1.0
"""The time between two looks at the engine, however much happens on it."""

RETRY_SECONDS = 30.0
"""The time until the menu is kept again after an unexpected failure."""


class KernelMenu:
    """Writes and removes automatic kernelspecs from `start` to `close`; those a person added are left alone."""

    def __init__(self, environments: Environments, log: logging.Logger) -> None:
        self._environments = environments
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Look now, and again whenever an image or an environment has come or gone."""
        self._tasks = [
            asyncio.create_task(self._kept_up(work), name="mlenv-kernel-menu") for work in (self._listen, self._update)
        ]

    async def close(self) -> None:
        """Stop; what is in the menu stays, since the kernels need no server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _kept_up(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin again where something unexpected ends it: nobody would notice that the menu stands still."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - logged, with a logger that the rule does not know
                self._log.exception("The kernel menu was not kept; it is tried again in %g s.", RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)

    async def _update(self) -> None:
        while True:
            self._changed.clear()
            await self._sync()
            await self._changed.wait()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        unlisten = self._environments.on_images_changed(self._changed.set)
        try:
            async with aclosing(self._environments.subscribe()) as changes:  # type: ignore[type-var]
                async for change in changes:
                    if change["type"] in ("snapshot", "environment", "removed", "engine"):
                        self._changed.set()
        finally:
            unlisten()

    async def _sync(self) -> None:
        try:
            presets, _ = await self._environments.presets()
            ready = await self._environments.ready(presets)
            there = await self._environments.known()
            used = {environment.preset for environment in there}
        except MlenvError as error:
            self._log.debug("Which presets can be kernels is not known: %s", error)
            return
        stopped = [e for e in there if e.name.startswith(ISOLATED) and e.state in (State.STOPPED, State.FAILED)]
        await placement.sweep(self._environments, stopped)
        # The `host` preset's image is made in a moment, whenever one is needed.
        usable = [p for p in presets if p.uses_host_python or ready.get(p.name) or p.name in used]
        wanted = {kernelspec.spec_name(p.name): (kernelspec.kernel_json(p, automatic=True), p.icon) for p in usable}
        folder = os.path.join(jupyter_data_dir(), "kernels")
        try:
            written, removed = await off_loop(kernelspec_store.sync, folder, wanted)
            for other in kernelspec_store.folders(jupyter_path()):
                written += await off_loop(kernelspec_store.renew, other)
        except MlenvError as error:
            self._log.warning("The kernel menu cannot be kept: %s", error)
            return
        if written or removed:
            self._environments.kernels_changed()
        if written:
            self._log.info("Kernels of presets that are ready: %s", ", ".join(written))
        if removed:
            self._log.info("Kernels of presets that are not ready any more are gone: %s", ", ".join(removed))
