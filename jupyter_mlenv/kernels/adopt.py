"""Taking over a kernel that a process left behind which is no more, such as a server that was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory


async def adopt(
    kernel_name: str,
    info: Mapping[str, Any],
    *,
    connection_file: str = "",
    manager: Any = None,
    launch: Mapping[str, Any] | None = None,
) -> Any:
    """A manager that owns a living kernel, as if it had started it: it can be interrupted, restarted and shut down.

    Parameters
    ----------
    info
        What the provisioner's `get_provisioner_info` said in the other process.
    connection_file
        Where the connection file is to be; one that is there already and says the same is used.
    manager
        The manager to fill; default: a new `AsyncIOLoopKernelManager`.
    launch
        What a restart passes on, such as `cwd` and `env`; default: the folder that the kernel was started in.

    Raises KernelError if the kernel has ended. jupyter_client (8.10) has no function of its own for this; what a
    manager must know after `load_provisioner_info` is what its `start_kernel` would have set.
    """
    manager = manager or AsyncIOLoopKernelManager(kernel_name=kernel_name)
    manager.kernel_id = info["kernel_id"]
    if connection_file:
        manager.connection_file = connection_file
    provisioner = KernelProvisionerFactory.instance(parent=manager.parent).create_provisioner_instance(
        manager.kernel_id, manager.kernel_spec, parent=manager
    )
    await provisioner.load_provisioner_info(dict(info))
    manager.provisioner = provisioner
    manager.load_connection_info(provisioner.connection_info)
    manager._reconcile_connection_info(provisioner.connection_info)
    manager._connection_file_written = True  # so that it is removed at the kernel's end
    manager._launch_args = dict(launch or {"cwd": info["cwd"]})
    manager._attempted_start = True
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ready.set_result(None)
    manager._ready = ready
    manager.start_restarter()
    manager._connect_control_socket()
    return manager
