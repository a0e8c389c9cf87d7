"""The switches that the extension flips for the whole server."""

from __future__ import annotations

import gc
import socket
from pathlib import Path

from jupyter_mlenv.server.tuning import freeze_gc, set_nodelay


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
