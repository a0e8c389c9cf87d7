"""A kernel's sockets on this machine where the container's own cannot be reached: passed on through the agent."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from .. import rundir
from ..agentclient import AgentClient
from ..errors import AgentUnreachable
from ..routes import connect

PORTS = range(1, 6)
"""The numbers in the names of a kernel's five sockets."""

PIECE = 1 << 18
"""Bytes passed on at a time."""


def links(run_dir: str, prefix: str) -> None:
    """Link the sockets `<prefix>-<n>` of a kernel from what its environment can write to where it cannot.

    Links that a process left behind when it was killed go. Raises OSError if one is not there, or is no socket.
    """
    rundir.drop_links(run_dir, "k-")
    for port in PORTS:
        rundir.link_socket(run_dir, f"{prefix}-{port}")


class Relay:
    """Unix sockets `<prefix>-<n>` in a private directory, each connection a tunnel to the socket of that name inside.

    ZeroMQ connects again by itself, so a kernel that is restarted, or is not there yet, needs no care.
    """

    def __init__(self, prefix: str, agent: AgentClient) -> None:
        self._prefix = prefix
        self._agent = agent
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        os.makedirs(os.path.dirname(self._prefix), 0o700, exist_ok=True)
        for port in PORTS:
            path = f"{self._prefix}-{port}"
            with suppress(FileNotFoundError):
                os.unlink(path)
            name = os.path.basename(path)
            server = await asyncio.start_unix_server(
                lambda reader, writer, name=name: self._serve(name, reader, writer),  # type: ignore[misc]
                path,
            )
            self._servers.append(server)

    async def close(self) -> None:
        """Stop, and remove the sockets; the directory too if it is empty then."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for port in PORTS:
            with suppress(FileNotFoundError):
                os.unlink(f"{self._prefix}-{port}")
        with suppress(OSError):
            os.rmdir(os.path.dirname(self._prefix))

    async def _serve(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            sock = await connect(self._agent.tunnel(f"unix:{name}"))
            there_reader, there_writer = await asyncio.open_connection(sock=sock)
        except (OSError, AgentUnreachable):
            writer.close()
            return
        try:
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
        finally:
            writer.close()
            there_writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
