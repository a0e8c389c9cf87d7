"""Pooled keep-alive connections to services, with back-pressure both ways.

Why not a general client: aiohttp builds URL, header and response objects per request that a proxy throws away at
once, and a socket cannot be taken over from it after a 101 without losing bytes (`benchmarks/bench_upstream.py`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from ..agent_client.routes import Route
from .http1 import MAX_HEAD, Body, Head, LengthBody, ProtocolError, body_of, parse_head

HIGH_WATER = 512 * 1024
"""Bytes of an answer held for a slow browser before we stop reading from the service."""

READ_SIZE = 256 * 1024
"""Bytes read from a service at once."""

IDLE = 4.0
"""Seconds that an unused connection is kept: below the keep-alive of Node and uvicorn (5 s)."""

IDLE_PER_ROUTE = 32
"""Unused connections kept per service."""

HEAD_TIME = 30.0
"""Seconds from the first byte of an answer's head to its last. How long a service thinks before is its own business."""

MAX_INTERIM = 16
"""Interim answers (100, 102, 103) to one request; services send one or two."""

Connect = Callable[[Route], Awaitable[socket.socket]]


class UpstreamLost(ConnectionError):
    """The service closed the connection before its answer was complete."""


class Connection(asyncio.BufferedProtocol):
    """One connection to a service; one exchange (request and answer) at a time.

    `answered` is true once any byte of the answer has arrived, `done` once it is complete.
    """

    def __init__(self, route: Route | None, sock: socket.socket, buffer: memoryview) -> None:
        self.route = route
        self.sock = sock
        self.reused = False
        self.done = False
        self.answered = False
        self._read_buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._method = ""
        self._upgrade = False
        self._chunked = False
        self._sent = True
        self._in_exchange = False
        self._pending = bytearray()
        self._interim = 0
        self._slow_head: asyncio.TimerHandle | None = None
        self._head: Head | None = None
        self._body: Body = LengthBody(0)
        self._pieces: list[bytes] = []
        self._held = 0
        self._paused = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # One exchange

    def begin(self, head: bytes, method: str, *, chunked: bool, has_body: bool, upgrade: bool = False) -> None:
        """Send the head of a request whose body, if it has one, follows by `write` and `finish`.

        Only a request that asks for an `upgrade` (to a WebSocket) may be answered with 101.
        """
        self.done = self.answered = False
        self._in_exchange = True
        self._method = method
        self._upgrade = upgrade
        self._interim = 0
        self._chunked = chunked
        self._sent = not has_body
        self._head = None
        if self._transport is not None:
            self._transport.write(head)

    async def write(self, data: bytes) -> None:
        """A piece of the request's body; waits while the service does not take it. Dropped if it is gone."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)
        if self._writer is not None:
            await asyncio.shield(self._writer)

    def finish(self) -> None:
        """The body of the request is complete."""
        if self._chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        self._sent = True

    async def head(self) -> Head:
        """The head of the answer; interim answers (100, 103) are skipped. Raises UpstreamLost, ProtocolError."""
        while self._head is None:
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """The next piece of the answer's body, empty at its end. Raises UpstreamLost, ProtocolError."""
        while not self._pieces and not self.done:
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """The part of the body that is here."""
        pieces, self._pieces, self._held = self._pieces, [], 0
        if not self._pending:
            self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Give the exchange up; whoever waits for it gets UpstreamLost."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(UpstreamLost("the exchange was given up"))

    def detach(self) -> tuple[socket.socket, bytes]:
        """After an answer of 101: the socket, now the caller's, and what the service has sent behind the head.

        A duplicate of the descriptor is returned, since asyncio closes the one it knows. Nothing is lost: reading
        stopped with the head, and asyncio keeps no read buffer of its own.
        """
        assert self._transport is not None
        sock = self.sock.dup()
        sock.setblocking(False)
        rest, self._pending = bytes(self._pending), bytearray()
        self._transport.abort()
        return sock, rest

    def reusable(self) -> bool:
        """May another exchange follow on this connection?"""
        return (
            self.done
            and self._sent
            and self._error is None
            and not self._pending
            and self._head is not None
            and self._head.keep_alive
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def alive(self) -> bool:
        """Has the service neither closed this idle connection nor spoken out of turn?"""
        if self._error is not None or self._transport is None or self._transport.is_closing():
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._read_buffer[:nbytes])
        try:
            self._feed(data)
        except ProtocolError as error:
            self._fail(error)
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._no_slow_head()
        if isinstance(exc, BrokenPipeError) and not self.done:
            self._salvage()
        if self._error is None and exc is None and self._head is not None and self._body.end():
            self.done = True
            self._wake()
        self._fail(UpstreamLost(str(exc) if exc else "the service closed the connection"))

    def pause_writing(self) -> None:
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    # Inside

    def _feed(self, data: bytes) -> None:
        if not self._in_exchange or self.done:
            raise ProtocolError("the service sent bytes that nobody asked for")
        self.answered = True
        if self._head is None:
            self._pending += data
            self._heads(len(self._pending) - len(data))
            if self._head is None or self._head.status == 101:
                return
            data, self._pending = bytes(self._pending), bytearray()
        elif self._pending:
            self._pending += data  # behind what `_take_rest` will take
            return
        self._take(data)

    def _heads(self, at: int) -> None:
        """Parse what is complete in `_pending`, whose first `at` bytes hold no end of a head."""
        while self._head is None:
            stop = self._pending.find(b"\r\n\r\n", max(0, at - 3))
            if stop < 0:
                if len(self._pending) > MAX_HEAD:
                    raise ProtocolError("the head of the answer is too long")
                if self._pending and self._slow_head is None:
                    self._slow_head = self._loop.call_later(HEAD_TIME, self._too_slow)
                return
            at = 0
            self._no_slow_head()
            head = parse_head(bytes(self._pending[:stop]))
            del self._pending[: stop + 4]
            if head.status == 101:
                self._switch(head)
            elif head.status >= 200:
                self._body = body_of(head, self._method)
                self._head = head
            else:
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise ProtocolError("the service sends interim answers without an end")

    def _take(self, data: bytes) -> None:
        """Bytes of the answer's body, or what lies behind it."""
        if not self._body.done:
            pieces, data = self._body.feed(data)
            self._pieces += pieces
            self._held += sum(map(len, pieces))
        if self._body.done:
            self.done = True
            self._pending += data  # Bytes behind the answer: the connection is not used again.
        elif data:
            # A body in very many pieces: the rest in another turn of the loop, in which nothing more is read.
            self._pending += data
            self._pause()
            self._loop.call_soon(self._take_rest)
        elif self._held > HIGH_WATER:
            self._pause()
        self._wake()

    def _take_rest(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        if self._error is not None or not data:
            return
        try:
            self._take(data)
        except ProtocolError as error:
            self._fail(error)
            self.abort()
            return
        if not self._pending and not self.done and self._held <= HIGH_WATER:
            self._resume()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _no_slow_head(self) -> None:
        if self._slow_head is not None:
            self._slow_head.cancel()
            self._slow_head = None

    def _too_slow(self) -> None:
        self._fail(ProtocolError(f"the head of the answer was not complete after {HEAD_TIME:g} s"))
        self.abort()

    def _salvage(self) -> None:
        """The service answered and closed without reading the whole request: its answer is still in the socket."""
        with suppress(OSError, ProtocolError):
            while not self.done and self._held < HIGH_WATER and (data := self.sock.recv(READ_SIZE)):
                self._feed(data)
                while self._pending and self._head is not None and not self.done:
                    self._take_rest()

    def _switch(self, head: Head) -> None:
        """The bytes behind the head are no longer HTTP, so nobody may see them who did not ask for that."""
        if not self._upgrade or not head.opens_websocket():
            raise ProtocolError("the service switches to another protocol, which nobody asked for")
        if self._transport is not None:
            self._transport.pause_reading()
        self._head = head
        self._wake()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._reader = self._loop.create_future()
        await self._reader

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()
        self.resume_writing()


async def over(route: Route | None, sock: socket.socket, buffer: memoryview) -> Connection:
    """A connection over this socket, which is the connection's from now on. All of one loop can share a buffer."""
    connection = Connection(route, sock, buffer)
    try:
        await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
    except BaseException:
        sock.close()
        raise
    return connection


class Pool:
    """The connections of one server to all its services. Used from one event loop."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: dict[Route | None, deque[tuple[float, Connection]]] = {}
        self._busy: set[Connection] = set()
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._sweeper: asyncio.TimerHandle | None = None

    async def acquire(self, route: Route, *, fresh: bool = False) -> Connection:
        """A connection on which nothing is under way; a new one if `fresh`.

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
        if not connection.reusable() or len(self._idle.get(connection.route, ())) >= IDLE_PER_ROUTE:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle.setdefault(connection.route, deque()).append((loop.time(), connection))
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE, self._sweep)

    def forget(self, connection: Connection) -> None:
        """The connection is no longer the pool's: its socket was detached."""
        self._busy.discard(connection)

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
        oldest = loop.time() - IDLE
        for route, idle in list(self._idle.items()):
            while idle and idle[0][0] <= oldest:
                idle.popleft()[1].abort()
            if not idle:
                del self._idle[route]
        self._sweeper = loop.call_later(IDLE, self._sweep) if self._idle else None
