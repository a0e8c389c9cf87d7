"""Where a kernel manager of jupyter_client looks for its kernel: unix sockets, and the file that names them."""

from __future__ import annotations

from typing import Any

import zmq
from jupyter_client.connect import KernelConnectionInfo

RECONNECT = (10, 200)
"""Milliseconds between a socket's attempts to find a kernel that is started again: at first, and in the end."""


def new(manager: Any, prefix: str, session: str) -> KernelConnectionInfo:
    """Decide on sockets `<prefix>-<n>`, the same ones at each start, and write the connection file.

    `session` is the path of the notebook, where there is one.
    """
    manager.transport = "ipc"
    manager.cache_ports = False
    _reconnect_soon(manager.context)
    if manager.ip != prefix:
        manager.ip = prefix
        manager.cleanup_connection_file()
    manager.write_connection_file(jupyter_session=session)
    info: KernelConnectionInfo = manager.get_connection_info()
    return info


def given(manager: Any, info: KernelConnectionInfo) -> None:
    """Take the sockets and the key of a kernel that lives already, and write the connection file."""
    _reconnect_soon(manager.context)
    manager.load_connection_info(info)
    manager.write_connection_file()


def _reconnect_soon(context: zmq.Context[Any]) -> None:
    """Let the sockets that are made in it notice a restarted kernel at once: they wait for 100 to 200 ms by default,
    which is longer than the restart, and one that comes late misses the first output."""
    context.setsockopt(zmq.RECONNECT_IVL, RECONNECT[0])
    context.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT[1])
