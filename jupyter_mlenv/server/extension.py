"""The server extension: wiring only."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp

from ..config import MlenvConfig
from ..environments import Environments
from ..environments.jobs import Jobs
from ..errors import MlenvError
from ..kernels import loop_thread
from ..kernels.signed_record import Notes
from ..kernels.use_cases import Served
from ..proxy.handler import Proxy, proxy_handlers
from ..workers import off_loop
from . import kernel_recovery, kernel_rights, kernel_websocket, performance, shutdown
from .handlers import api_handlers
from .kernel_menu import KernelMenu
from .watch import CLOSE_GOING_AWAY, WatchHandler

STOP_TIMEOUT_SECONDS = 8.0
"""Seconds that the end of the server waits for the extension."""


class MlenvExtension(ExtensionApp):
    """ML environments in containers, for the Jupyter server. Configured by `MlenvConfig`."""

    name = "jupyter_mlenv"
    load_other_extensions = True
    classes = [*ExtensionApp.classes, MlenvConfig]  # noqa: RUF012  (a traitlets list)

    def _config_file_name_default(self) -> str:
        return "jupyter_mlenv_config"  # the command line's too: both must mean the same environments

    @property
    def server(self) -> ServerApp:
        """The server that loaded this."""
        return cast(ServerApp, self.serverapp)

    def initialize_settings(self) -> None:
        """Make the use cases; nothing connects to an engine before somebody asks for something."""
        self.mlenv = MlenvConfig(parent=self)
        self.environments = Environments(
            self.mlenv.engine(), self.mlenv.settings(root_dir=self.server.root_dir), Jobs()
        )
        notes = Notes(self.server.cookie_secret, f"{self.server.base_url} {self.server.root_dir}")
        served = Served(self.environments, cast(Any, self.server.io_loop).asyncio_loop)
        self.kernels = loop_thread.use(self.mlenv, served, notes, kernel_rights.require_execute)
        self.kernel_menu = KernelMenu(self.environments, self.log)
        self.settings["mlenv"] = self.environments
        self.proxy = Proxy(self.environments, login_ttl=self.mlenv.login_cache_seconds, idle=self.mlenv.idle_endpoints)
        if self.mlenv.tcp_nodelay:
            performance.set_kernel_nodelay(self.settings)
        kernel_websocket.report_kernel_ends(self.settings)
        kernel_rights.guard_kernels(self.server)
        # A lab with this option has our server half; the one inside a container has not, and shows nothing of ours.
        self.server.web_app.settings.setdefault("page_config_data", {})["mlenv"] = "true"

    def initialize_handlers(self) -> None:
        """Add the API and the proxy. Not by `self.handlers`, which takes the base URL as a regular expression."""
        base_url = self.server.web_app.settings["base_url"]
        handlers: list[Any] = [*api_handlers(base_url), *proxy_handlers(base_url, self.proxy)]
        self.server.web_app.add_handlers(".*$", handlers)  # type: ignore[no-untyped-call]
        if self.mlenv.take_over_kernels:
            kernel_recovery.take_over(self.server, self.environments.settings, self.kernels)

    sweeping: asyncio.Task[None] | None = None

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """The server listens: now make it quick."""
        if self.mlenv.tcp_nodelay:
            sockets = cast("Mapping[int, socket.socket]", serverapp.http_server._sockets)
            performance.set_nodelay(sockets.values())
        if self.mlenv.gc_freeze:
            performance.freeze_gc()
        if self.mlenv.auto_kernels:
            self.kernel_menu.start()
        self.sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Remove what a killed process left in the run root; without an engine it stays."""
        try:
            for path in await self.environments.sweep():
                self.log.info("The run directory %s of a container that is gone was removed.", path)
        except MlenvError as error:
            self.log.debug("Run directories were not swept: %s", error.message)

    async def stop_extension(self) -> None:
        """Say goodbye to watchers, cancel jobs, let go of the engine. Environments keep running."""
        shutdown.bound_shutdown(self.server.kernel_manager, self.log, time.monotonic())
        watchers: set[WatchHandler] = self.server.web_app.settings.get("mlenv_watchers", set())
        for watcher in list(watchers):
            watcher.close(CLOSE_GOING_AWAY, "The server stops.")
        if self.sweeping is not None:
            self.sweeping.cancel()
        await self.kernel_menu.close()
        await self.proxy.close()
        # Side by side and bounded: a process that was told to end has 10 s until whoever told it loses patience.
        closing = [self.environments.close(), off_loop(loop_thread.release, self.kernels)]
        await asyncio.wait([asyncio.ensure_future(one) for one in closing], timeout=STOP_TIMEOUT_SECONDS)

    def current_activity(self) -> Any:
        """Running jobs keep an idle server alive: who waits for a build has not gone away."""
        return [job.id for job in self.environments.jobs.all_running()] or None
