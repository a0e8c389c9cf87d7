"""Bytes both ways between two sockets, after a WebSocket handshake: nobody looks at frames, so nothing limits them.

One receive and one send per readable event, straight from the loop's callbacks; what the other side does not take at
once stops the reading until it did.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from tornado.iostream import IOStream, StreamClosedError

BUFFER_BYTES = 512 * 1024
"""Bytes moved at once."""

SEND_BUFFER_BYTES = 1 << 20
"""Bytes a unix socket may hold for a service (the kernel's default is 208 KiB): half the work for large messages."""

HALF_CLOSED_SECONDS = 30.0
"""Seconds that a client may stay connected after the service has closed its side."""

INET = (socket.AF_INET, socket.AF_INET6)
TCP_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


class Splices:
    """The splices of one server. `activity` is called for whatever a client sends."""

    def __init__(self, activity: Callable[[], None] = lambda: None) -> None:
        self.activity = activity
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self._open: set[Splice | asyncio.Task[None]] = set()

    def sockets(self, client: socket.socket, upstream: socket.socket, to_client: bytes, to_upstream: bytes) -> None:
        """Take both sockets over; send these first bytes before what follows."""
        splice = Splice(self, client, upstream)
        self._open.add(splice)
        splice.start(to_client, to_upstream)

    def stream(self, client: IOStream, upstream: socket.socket, to_client: bytes) -> None:
        """Take a socket over and a client that speaks TLS, through tornado's stream."""
        task = asyncio.get_running_loop().create_task(_splice_stream(client, upstream, to_client, self.activity))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def closed(self, splice: Splice) -> None:
        self._open.discard(splice)

    def __len__(self) -> int:
        return len(self._open)

    async def close(self) -> None:
        """Close the sockets of every splice."""
        tasks = [splice for splice in self._open if isinstance(splice, asyncio.Task)]
        for splice in list(self._open):
            if isinstance(splice, Splice):
                splice.close()
            else:
                splice.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Splice:
    """Two sockets and the two directions between them."""

    def __init__(self, owner: Splices, client: socket.socket, upstream: socket.socket) -> None:
        self.owner = owner
        self.loop = asyncio.get_running_loop()
        self._sockets = (client, upstream)
        self._closed = False
        self._linger: asyncio.TimerHandle | None = None
        self._down = _Half(self, upstream, client, quickack=upstream.family in INET)
        self._up = _Half(self, client, upstream, activity=owner.activity)

    def start(self, to_client: bytes, to_upstream: bytes) -> None:
        for sock in self._sockets:
            sock.setblocking(False)
            with suppress(OSError):
                # A peer that vanished without a word is noticed in the end; there is no idle timeout.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if sock.family in INET:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                else:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._down.start(to_client)
        self._up.start(to_upstream)

    def half_done(self) -> None:
        """Note that one direction has ended and all of it was delivered."""
        if self._down.done and self._up.done:
            self.close()
        elif self._down.done and self._linger is None and not self._closed:
            self._linger = self.loop.call_later(HALF_CLOSED_SECONDS, self.close)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._linger is not None:
            self._linger.cancel()
        for sock in self._sockets:
            self.loop.remove_reader(sock.fileno())
            self.loop.remove_writer(sock.fileno())
            sock.close()
        self.owner.closed(self)


class _Half:
    """One direction: reads `source`, writes `sink`."""

    def __init__(
        self,
        splice: Splice,
        source: socket.socket,
        sink: socket.socket,
        *,
        quickack: bool = False,
        activity: Callable[[], None] | None = None,
    ) -> None:
        self.done = False
        self._splice = splice
        self._loop = splice.loop
        self._source = source
        self._sink = sink
        # Numbers, since for a socket object asyncio's selector makes a text that asks the kernel for both addresses.
        self._source_fd = source.fileno()
        self._sink_fd = sink.fileno()
        self._buffer = splice.owner.buffer
        self._quickack = quickack and TCP_QUICKACK is not None
        self._activity = activity
        self._pending = memoryview(b"")
        self._ended = False

    def start(self, first: bytes) -> None:
        if first:
            self._pending = memoryview(first)
            self._loop.add_writer(self._sink_fd, self._writable)
        else:
            self._loop.add_reader(self._source_fd, self._readable)

    def _readable(self) -> None:
        try:
            size = self._source.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._splice.close()
            return
        if size == 0:
            self._ended = True
            self._loop.remove_reader(self._source_fd)
            self._end()
            return
        if self._activity is not None:
            self._activity()
        data = self._buffer[:size]
        try:
            if self._quickack:
                # A service without TCP_NODELAY waits for our acknowledgement before its next small packet: 40 ms.
                assert TCP_QUICKACK is not None
                self._source.setsockopt(socket.IPPROTO_TCP, TCP_QUICKACK, 1)
            sent = self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._splice.close()
            return
        if sent < size:
            self._pending = memoryview(bytes(data[sent:]))
            self._loop.remove_reader(self._source_fd)
            self._loop.add_writer(self._sink_fd, self._writable)

    def _writable(self) -> None:
        try:
            sent = self._sink.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._splice.close()
            return
        self._pending = self._pending[sent:]
        if not self._pending:
            self._loop.remove_writer(self._sink_fd)
            if self._ended:
                self._end()
            else:
                self._loop.add_reader(self._source_fd, self._readable)

    def _end(self) -> None:
        with suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self.done = True
        self._splice.half_done()


async def _splice_stream(
    client: IOStream, upstream: socket.socket, to_client: bytes, activity: Callable[[], None]
) -> None:
    """Join a socket and a TLS stream, which cannot be closed by half, so the first end closes both."""
    loop = asyncio.get_running_loop()

    async def down() -> None:
        await client.write(to_client)
        while data := await loop.sock_recv(upstream, BUFFER_BYTES):
            await client.write(data)

    async def up() -> None:
        while True:
            data = await client.read_bytes(BUFFER_BYTES, partial=True)
            activity()
            await loop.sock_sendall(upstream, data)

    halves = [loop.create_task(down()), loop.create_task(up())]
    try:
        await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for half in halves:
            half.cancel()
        for result in await asyncio.gather(*halves, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, (OSError, StreamClosedError)):
                raise result
        client.close()
        upstream.close()


def take_over(stream: IOStream) -> tuple[socket.socket, bytes]:
    """Return the socket of a detached plain stream, and what tornado had read from it. Raises StreamClosedError.

    A duplicate of the descriptor is returned, since closing the stream is the one public way to make tornado let go.
    """
    early = b""
    while True:
        reading = asyncio.ensure_future(stream.read_bytes(65536, partial=True))
        if not reading.done():
            break
        early += reading.result()
    sock = stream.socket.dup()
    sock.setblocking(False)
    stream.close()
    return sock, early
