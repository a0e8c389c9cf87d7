"""Switches that make any Jupyter server faster; each is a trait of the extension."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any

INET = (socket.AF_INET, socket.AF_INET6)


def set_nodelay(sockets: Iterable[socket.socket]) -> int:
    """Set TCP_NODELAY on listening sockets; on Linux, accepted connections inherit it. Returns how many are TCP.

    Without it Nagle's algorithm and delayed acknowledgements cost a kernel's WebSocket about 40 ms per execute. For a
    running server the sockets are `ServerApp.http_server._sockets.values()` (tornado has no public name for them).
    """
    count = 0
    for sock in sockets:
        if sock.family in INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count += 1
    return count


def set_kernel_nodelay(settings: MutableMapping[str, Any]) -> None:
    """Let the WebSockets of kernels send at once; `settings` are an extension's, which become the server's.

    tornado (6.5) turns Nagle's algorithm on again at the end of every HTTP request, so also after the one that becomes
    the WebSocket, whatever the listening socket says: `HTTP1Connection._finish_request`.
    """
    base = settings["kernel_websocket_connection_class"]

    class NodelayChannels(base):  # type: ignore[misc, valid-type]
        """The server's own connection between a WebSocket and a kernel, without the delay."""

        def connect(self) -> Any:
            self.websocket_handler.set_nodelay(True)
            return super().connect()

    settings["kernel_websocket_connection_class"] = NodelayChannels


def freeze_gc() -> int:
    """Take everything that is alive now out of garbage collection. Returns how many objects that is.

    Called once after start-up: a full collection walks every module the server ever imported (about 100 ms, in the
    middle of somebody's request); afterwards it walks only what came later (about 10 ms).
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
