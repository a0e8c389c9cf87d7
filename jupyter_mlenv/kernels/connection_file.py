"""The connection of a kernel manager of jupyter_client: unix sockets, and the file that names them."""

from __future__ import annotations

from typing import Any

from jupyter_client.connect import KernelConnectionInfo

from . import zmq_context


def new(manager: Any, prefix: str, session: str) -> KernelConnectionInfo:
    """Decide on sockets `<prefix>-<n>`, the same ones at each start, and write the connection file.

    `session` is the path of the notebook, where there is one.
    """
    manager.transport = "ipc"
    manager.cache_ports = False
    zmq_context.own(manager)
    if manager.ip != prefix:
        manager.ip = prefix
        manager.cleanup_connection_file()
    manager.write_connection_file(jupyter_session=session)
    info: KernelConnectionInfo = manager.get_connection_info()
    return info


def given(manager: Any, info: KernelConnectionInfo) -> None:
    """Take the sockets and the key of a kernel that lives already, and write the connection file."""
    zmq_context.own(manager)
    manager.load_connection_info(info)
    manager.write_connection_file()


def over(manager: Any) -> None:
    """The kernel is shut down, and nobody will connect to it any more. Does not block."""
    zmq_context.over(manager)
