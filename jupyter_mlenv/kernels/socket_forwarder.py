"""A kernel's sockets on this machine where the container's own cannot be reached: passed on through the agent."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping
from contextlib import suppress

from ..agent_client import AgentClient
from ..agent_client.routes import connect
from ..environments import run_directory
from ..errors import AgentUnreachable

PORTS = range(1, 6)
"""The numbers in the names of a kernel's five sockets."""

CHUNK_BYTES = 1 << 18
"""Bytes passed on at a time."""


def links(run_dir: str, prefix: str) -> None:
    """Link the sockets `<prefix>-<n>` of a kernel from what its environment can write to where it cannot.

    Links that a process left behind when it was killed go. Raises OSError if one is not there, or is no socket.
    """
    run_directory.drop_links(run_dir)
    for port in PORTS:
        run_directory.link_socket(run_dir, f"{prefix}-{port}")


Address = str | tuple[str | None, int]
"""The address where a forwarder listens: the path of a unix socket, or host and port; without a host everywhere on this
machine."""


class SocketForwarder:
    """Addresses on this machine, each connection to one a tunnel to a socket inside.

    ZeroMQ connects again by itself, so a kernel that is restarted, or is not there yet, needs no care.

    Parameters
    ----------
    sockets
        The names of the sockets in the run directory, by address.
    directory
        One of our own for unix sockets, made if it is not there and removed with the last of them.
    """

    def __init__(self, agent: AgentClient, sockets: Mapping[Address, str], directory: str = "") -> None:
        self._agent, self._sockets, self._directory = agent, sockets, directory
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        if self._directory:
            os.makedirs(self._directory, 0o700, exist_ok=True)
        for address, name in self._sockets.items():
            accept = functools.partial(self._accept, name)
            if isinstance(address, str):
                with suppress(FileNotFoundError):
                    os.unlink(address)
                self._servers.append(await asyncio.start_unix_server(accept, address))
            else:
                self._servers.append(await asyncio.start_server(accept, *address))

    async def close(self) -> None:
        """Stop, and remove the sockets; the directory too if it is empty then."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for address in self._sockets:
            if isinstance(address, str):
                with suppress(FileNotFoundError):
                    os.unlink(address)
        if self._directory:
            with suppress(OSError):
                os.rmdir(self._directory)

    def _accept(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio (up to Python 3.11) logs the cancel of one that it makes as an error.
        task = asyncio.ensure_future(self._serve(name, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sock = await connect(self._agent.tunnel(f"unix:{name}"))
            there_reader, there_writer = await asyncio.open_connection(sock=sock)
            passing = [
                asyncio.ensure_future(_pass(reader, there_writer)),
                asyncio.ensure_future(_pass(there_reader, writer)),
            ]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in passing:
                    one.cancel()
                await asyncio.gather(*passing, return_exceptions=True)
                there_writer.close()
        except (OSError, AgentUnreachable):
            return
        finally:
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
