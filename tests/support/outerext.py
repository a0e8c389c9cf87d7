"""The server extension of `outer.py`: the real proxy over a resolver that finds sockets in a folder."""

from __future__ import annotations

import gc
import os
import signal
import socket
from pathlib import Path
from typing import Any

from jupyter_mlenv.agent_client.routes import Route, TcpRoute, UnixRoute
from jupyter_mlenv.errors import EndpointNotFound, EnvironmentNotFound, EnvironmentNotRunning, ServiceExited
from jupyter_mlenv.proxy.handler import Proxy, proxy_handlers
from jupyter_mlenv.server.performance import freeze_gc, set_nodelay


class FolderResolver:
    """Remembers routes as `Environments` does; every start is written to `starts.log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes: dict[tuple[str, str, str], Route] = {}

    def cached_service(self, id: str, endpoint: str, base_url: str) -> Route | None:
        return self._routes.get((id, endpoint, base_url))

    def forget_service(self, id: str, endpoint: str, base_url: str) -> None:
        self._routes.pop((id, endpoint, base_url), None)

    async def service(self, id: str, endpoint: str, base_url: str) -> Route:
        if id == "stopped":
            raise EnvironmentNotRunning(
                "The environment stopped is not running.", hint="Start it: jupyter mlenv start host"
            )
        if id == "broken":
            raise ServiceExited("The service exited with code 3.", hint="Look.", log=["one <line>", "ValueError: no"])
        with (self._folder / "starts.log").open("a") as file:
            file.write(f"{id} {endpoint}\n")
        route = self._find(id, endpoint)
        self._routes[id, endpoint, base_url] = route
        return route

    def _find(self, id: str, endpoint: str) -> Route:
        sockets = sorted(self._folder.glob(f"{id}.{endpoint}.*sock"))
        if sockets:
            return UnixRoute(str(sockets[-1]))
        tcp = self._folder / f"{id}.{endpoint}.tcp"
        if tcp.exists():
            host, port = tcp.read_text().split()
            return TcpRoute(host, int(port))
        if list(self._folder.glob(f"{id}.*")):
            raise EndpointNotFound(f"The environment {id} has no endpoint {endpoint}.")
        raise EnvironmentNotFound(f"There is no environment {id}.", hint="`jupyter mlenv list` shows them.")


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    resolver = FolderResolver(Path(os.environ["MLENV_TEST_SOCKETS"]))
    app.web_app.add_handlers(
        ".*$", proxy_handlers(app.web_app.settings["base_url"], Proxy(resolver, idle=["tensorboard"]))
    )
    if os.environ["MLENV_TEST_TUNED"]:
        app.io_loop.add_callback(_tune, app)


def _tune(app: Any) -> None:
    sockets = list(app.http_server._sockets.values())

    def on(*_: object) -> None:
        set_nodelay(sockets)
        freeze_gc()

    def off(*_: object) -> None:
        """What a server has without our extension; new connections inherit it."""
        for sock in sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        gc.unfreeze()

    signal.signal(signal.SIGUSR1, on)
    signal.signal(signal.SIGUSR2, off)
    on()
