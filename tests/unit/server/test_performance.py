"""The switches that the extension flips for the whole server."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

from jupyter_mlenv.server.performance import freeze_gc, set_kernel_nodelay, set_nodelay


def test_connections_inherit_nodelay_from_their_listening_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert set_nodelay([tcp, unix]) == 1
        with socket.create_connection(tcp.getsockname()[:2]), tcp.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_is_alive_is_frozen() -> None:
    try:
        assert freeze_gc() == gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


async def test_the_channels_of_kernels_send_at_once() -> None:
    told: list[object] = []

    class Handler:
        def set_nodelay(self, value: bool) -> None:
            told.append(value)

    class Connection:
        websocket_handler = Handler()

        async def connect(self) -> None:
            told.append("connected")

    settings: dict[str, Any] = {"kernel_websocket_connection_class": Connection}
    set_kernel_nodelay(settings)
    await settings["kernel_websocket_connection_class"]().connect()
    assert told == [True, "connected"]
