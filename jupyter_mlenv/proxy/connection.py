"""A connection to a service, with back-pressure both ways.

Why not a general client: aiohttp builds URL, header and response objects per request that a proxy throws away at
once, and a socket cannot be taken over from it after a 101 without losing bytes (`benchmarks/bench_upstream.py`).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import cast

from ..agent_client.routes import Route
from .answer import Answer
from .http1 import Head, ProtocolError

HIGH_WATER_BYTES = 512 * 1024
"""Bytes of an answer held for a slow browser before we stop reading from the service."""

READ_BYTES = 256 * 1024
"""Bytes read at once."""

HEAD_TIMEOUT_SECONDS = 30.0
"""Seconds from the first byte of an answer's head to its last. How long a service thinks before is its own business."""


class UpstreamLost(ConnectionError):
    """A service closed its connection before the answer was complete."""


class Connection(asyncio.BufferedProtocol):
    """One connection to a service; one exchange (request and answer) at a time.

    `answered` is true once any byte of the answer has arrived, `done` once it is complete.
    """

    def __init__(self, route: Route | None, sock: socket.socket, buffer: memoryview) -> None:
        self.route = route
        self.sock = sock
        self.reused = False
        self.answered = False
        self._read_buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._chunked = False
        self._sent = True
        self._in_exchange = False
        self._answer = Answer()
        self._slow_head: asyncio.TimerHandle | None = None
        self._going_on: asyncio.Handle | None = None
        self._paused = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def done(self) -> bool:
        return self._answer.done

    # One exchange

    def begin(self, head: bytes, method: str, *, chunked: bool, has_body: bool, upgrade: bool = False) -> None:
        """Send the head of a request whose body, if it has one, follows by `write` and `finish`.

        Only a request that asks for an `upgrade` (to a WebSocket) may be answered with 101.
        """
        self.answered = False
        self._in_exchange = True
        self._answer = Answer(method, upgrade=upgrade)
        self._chunked = chunked
        self._sent = not has_body
        if self._transport is not None:
            self._transport.write(head)

    async def write(self, data: bytes) -> None:
        """Send a piece of the request's body; waits while the service does not take it. Dropped if it is gone."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)
        if self._writer is not None:
            await asyncio.shield(self._writer)

    def finish(self) -> None:
        """End the body of the request."""
        if self._chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        self._sent = True

    async def head(self) -> Head:
        """Return the head of the answer; interim answers (100, 103) are skipped. Raises UpstreamLost, ProtocolError."""
        while self._answer.head is None:
            await self._wait()
        return self._answer.head

    async def read(self) -> bytes:
        """Return the next piece of the answer's body, empty at its end. Raises UpstreamLost, ProtocolError."""
        while not self._answer.has_pieces and not self.done:
            await self._wait()
        return self.take()

    def take(self) -> bytes:
        """Return the part of the body that is here."""
        data = self._answer.take()
        if not self._answer.pending:
            self._resume()
        return data

    def abort(self) -> None:
        """Give the exchange up; whoever waits for it gets UpstreamLost."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(UpstreamLost("the exchange was given up"))

    def detach(self) -> tuple[socket.socket, bytes]:
        """Return the socket after a 101, now the caller's, and what the service has sent behind the head.

        A duplicate of the descriptor is returned, since asyncio closes the one it knows. Nothing is lost: reading
        stopped with the head, and asyncio keeps no read buffer of its own.
        """
        assert self._transport is not None
        sock = self.sock.dup()
        sock.setblocking(False)
        rest, self._answer.pending = bytes(self._answer.pending), bytearray()
        self._transport.abort()
        return sock, rest

    def reusable(self) -> bool:
        """Return whether another exchange may follow on this connection."""
        return (
            self.done
            and self._sent
            and self._error is None
            and not self._answer.pending
            and self._answer.head is not None
            and self._answer.head.keep_alive
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def alive(self) -> bool:
        """Return whether the service has neither closed this idle connection nor spoken out of turn."""
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
        if self._error is None and exc is None and self._answer.end():
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
        answer = self._answer
        if not self._in_exchange or answer.done:
            raise ProtocolError("the service sent bytes that nobody asked for")
        self.answered = True
        answer.feed(data)
        self._settle()

    def _settle(self) -> None:
        """Do what the bytes that have come call for: hurry a head, stop reading, wake the reader."""
        answer = self._answer
        if answer.head is None:
            if not answer.pending:
                self._no_slow_head()
            elif self._slow_head is None:
                self._slow_head = self._loop.call_later(HEAD_TIMEOUT_SECONDS, self._too_slow)
            return
        if self._slow_head is not None:
            self._no_slow_head()
        if answer.done:
            pass  # most answers come in one piece
        elif answer.switched:
            if self._transport is not None:
                self._transport.pause_reading()
        elif answer.interrupted:
            self._pause()
            if self._going_on is None:
                self._going_on = self._loop.call_soon(self._go_on)
        elif answer.held > HIGH_WATER_BYTES:
            self._pause()
        self._wake()

    def _go_on(self) -> None:
        self._going_on = None
        answer = self._answer
        if self._error is not None or not answer.interrupted:
            return
        try:
            answer.go_on()
        except ProtocolError as error:
            self._fail(error)
            self.abort()
            return
        self._settle()
        if not answer.pending and not answer.done and answer.held <= HIGH_WATER_BYTES:
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
        self._fail(ProtocolError(f"the head of the answer was not complete after {HEAD_TIMEOUT_SECONDS:g} s"))
        self.abort()

    def _salvage(self) -> None:
        """Read the answer of a service that closed without reading the whole request: it is still in the socket."""
        with suppress(OSError, ProtocolError):
            while not self.done and self._answer.held < HIGH_WATER_BYTES and (data := self.sock.recv(READ_BYTES)):
                self._feed(data)
                while self._answer.interrupted:
                    self._go_on()

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
    """Return a connection over this socket, which is its own from now on. All of one loop can share a buffer."""
    connection = Connection(route, sock, buffer)
    try:
        await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
    except BaseException:
        sock.close()
        raise
    return connection
