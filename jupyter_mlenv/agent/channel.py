"""File descriptors that are read and written without blocking."""

from __future__ import annotations

import os
import select
import socket
import time

from .loop import wait

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from typing import Any

    from .loop import Loop, Waiters

CHUNK_BYTES = 1 << 16  # read at once from a pipe or a client
TUNNEL_BYTES = 1 << 18  # moved at once through a tunnel
LINGER_SECONDS = 10.0  # at most that a finished client may still send


class Channel:
    """A file descriptor that is read and written without blocking.

    Registered once, edge-triggered: every operation is tried first and waits only if it would block. `file` keeps the
    object that owns the descriptor and closes it.
    """

    def __init__(self, loop: Loop, fd: int, file: Any = None) -> None:
        self.loop, self.fd, self.file = loop, fd, file
        self.readable: Waiters = []
        self.writable: Waiters = []
        self.hangup: Waiters = []
        self.gone = False
        self.left: int | None = None
        self.streak = 0
        os.set_blocking(fd, False)
        loop.channels[fd] = self
        loop.epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)

    def event(self, mask: int) -> None:
        if mask & ~select.EPOLLOUT:
            self.loop.fire(self.readable)
        if mask & (select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR):
            self.loop.fire(self.writable)
        if mask & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
            self.gone = True
            self.loop.fire(self.hangup)

    async def read_into(self, view: memoryview, timeout: float | None = None) -> int:
        """The number of bytes read, 0 at the end. Raises OSError, TimeoutError."""
        while True:
            self.streak += 1
            if self.streak % 16 == 0:
                await wait([], 0)  # a busy stream lets the others have their turn
            try:
                count = os.readv(self.fd, [view])
            except BlockingIOError:
                if self.left is not None:
                    return 0
            except OSError as error:
                if self.file is None and error.errno == 5:  # EIO: how a terminal says that its last user is gone
                    return 0
                raise
            else:
                if self.left is not None:
                    self.left -= count
                    return count if self.left > 0 else 0
                return count
            if not await wait(self.readable, timeout):
                raise TimeoutError

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of it. Raises OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                await wait(self.writable)

    def drain(self) -> None:
        """Read what is there, at most what a pipe can hold, then end: another process may keep it open for ever."""
        self.left = 1 << 20
        self.loop.fire(self.readable)

    def shutdown(self, how: int) -> None:
        try:  # noqa: SIM105  contextlib would be one import more
            self.file.shutdown(how)
        except OSError:
            pass  # it is already gone

    def release(self) -> int:
        """Take it out of the loop without closing it; its waiters wake and find it gone."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.loop.epoll.unregister(fd)
            del self.loop.channels[fd]
            for waiters in (self.readable, self.writable, self.hangup):
                self.loop.fire(waiters)
        return fd

    def close(self) -> None:
        fd = self.release()
        if self.file is not None:
            self.file.close()
        elif fd >= 0:
            os.close(fd)


async def connect(loop: Loop, address: str | int, timeout: float, host: str = "127.0.0.1") -> Channel:
    """A connected channel to a socket's path or a port of `host`, an address. Raises OSError."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    if isinstance(address, int):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        number = sock.connect_ex((host, address))
    else:
        sock = socket.socket(socket.AF_UNIX, kind)
        number = sock.connect_ex(address)
        deadline = time.monotonic() + timeout
        while number == 11 and time.monotonic() < deadline:  # EAGAIN: a full backlog; nothing is under way
            await wait([], 0.005)
            number = sock.connect_ex(address)
    channel = Channel(loop, sock.fileno(), sock)
    try:
        if number == 115:  # EINPROGRESS
            if not await wait(channel.writable, timeout):
                raise TimeoutError("no answer")
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        if isinstance(address, int):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        channel.close()
        raise
    return channel


async def pump(source: Channel, target: Channel) -> None:
    """Bytes one way, then the end of input; a broken end breaks both."""
    buffer = memoryview(bytearray(TUNNEL_BYTES))
    try:
        while True:
            count = await source.read_into(buffer)
            if not count:
                return target.shutdown(socket.SHUT_WR)
            await target.write(buffer[:count])
    except OSError:
        source.shutdown(socket.SHUT_RDWR)
        target.shutdown(socket.SHUT_RDWR)


async def linger(channel: Channel) -> None:
    """Close, but not before the other end did: a reset would cost it what it has not read, or a line in its log."""
    channel.shutdown(socket.SHUT_WR)
    chunk, deadline = memoryview(bytearray(CHUNK_BYTES)), time.monotonic() + LINGER_SECONDS
    try:
        while time.monotonic() < deadline:
            if not await channel.read_into(chunk, 1.0):
                return
    finally:
        channel.close()
