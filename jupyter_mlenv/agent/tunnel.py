"""`CONNECT`: raw bytes between a client and a port or socket of the environment."""

from __future__ import annotations

import os
import socket
import sys

from .channel import connect, pump
from .http import Refused
from .loop import join

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from .channel import Channel
    from .http import Connection, Request
    from .loop import Loop
    from .runtime import Runtime

CONNECT_TIMEOUT_SECONDS = 10.0


async def elsewhere(loop: Loop, port: int) -> Channel | None:
    """A channel to what listens on this port at another address of the environment, as Spark, Ray and Dask do."""
    from .listeners import addresses  # noqa: PLC0415  few services are such

    for host in addresses(port):
        try:
            return await connect(loop, port, CONNECT_TIMEOUT_SECONDS, host)
        except OSError:
            continue
    return None


async def tunnel(runtime: Runtime, connection: Connection, request: Request) -> None:
    """Connect, and pass bytes both ways until both ends are closed. Raises Refused."""
    host, _, name = request.target.rpartition(":")
    if host == "127.0.0.1" and name.isdigit() and 0 < int(name[:6]) < 65536:
        address: str | int = int(name)
    elif host == "unix" and (name.endswith(".sock") or name[:2] == "k-") and "/" not in name and name[0] != ".":
        address = os.path.join(runtime.run_dir, name)
    else:
        raise Refused(403, "forbidden", "Only 127.0.0.1:<port> and unix:<name>.sock can be reached.")
    try:
        target = await connect(runtime.loop, address, CONNECT_TIMEOUT_SECONDS)
    except OSError as error:
        found = await elsewhere(runtime.loop, address) if isinstance(address, int) else None
        if found is None:
            raise Refused(502, "connection_refused", f"{request.target}: {error}") from None
        target = found
    client = connection.channel
    try:
        if request.headers.get("x-mlenv-pass") == "socket" and client.file.family == socket.AF_UNIX:
            # The client gets the connected socket itself: no byte of the tunnel passes through this process.
            rights = target.release().to_bytes(4, sys.byteorder)
            head = b"HTTP/1.1 200 Connected\r\nX-Mlenv-Passed: socket\r\n\r\n"
            client.file.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            return
        await client.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await target.write(bytes(connection.buffer))
        back = runtime.loop.spawn(pump(target, client))
        await pump(client, target)
        await join(back)
    finally:
        target.close()
