"""Kept connections to services, by route."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

from ..agent_client.routes import Route
from .connection import READ_BYTES, Connection, over

POOL_IDLE_SECONDS = 4.0
"""Seconds that an unused connection is kept: below the keep-alive of Node and uvicorn (5 s)."""

MAX_IDLE_PER_ROUTE = 32
"""Unused connections kept per service."""

Connect = Callable[[Route], Awaitable[socket.socket]]


class Pool:
    """The connections of one server to all its services. Used from one event loop."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: dict[Route | None, deque[tuple[float, Connection]]] = {}
        self._busy: set[Connection] = set()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._sweeper: asyncio.TimerHandle | None = None

    async def acquire(self, route: Route, *, fresh: bool = False) -> Connection:
        """Return a connection on which nothing is under way; a new one if `fresh`.

        Raises what `routes.connect` raises: OSError, and AgentUnreachable for a tunnel.
        """
        idle = self._idle.get(route)
        while idle and not fresh:
            connection = idle.pop()[1]
            if connection.alive():
                connection.reused = True
                self._busy.add(connection)
                return connection
            connection.abort()
        connection = await over(route, await self._connect(route), self._buffer)
        self._busy.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Keep the connection for the next exchange if it is fit for one, else close it."""
        self._busy.discard(connection)
        if not connection.reusable() or len(self._idle.get(connection.route, ())) >= MAX_IDLE_PER_ROUTE:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(connection.route, deque()).append((loop.time(), connection))
        if self._sweeper is None:
            self._sweeper = loop.call_later(POOL_IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Close every connection, also those in use."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._busy, *(c for idle in self._idle.values() for _, c in idle)]:
            connection.abort()
        self._busy.clear()
        self._idle.clear()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - POOL_IDLE_SECONDS
        for route, idle in list(self._idle.items()):
            while idle and idle[0][0] <= oldest:
                idle.popleft()[1].abort()
            if not idle:
                del self._idle[route]
        self._sweeper = loop.call_later(POOL_IDLE_SECONDS, self._sweep) if self._idle else None
