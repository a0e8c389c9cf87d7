"""Unix sockets in directories where others can write: looked at before they are connected to, and never waited for.

Two traps lie in a socket whose other end is hostile. What it sends can carry descriptors (SCM_RIGHTS), and one that
nobody takes is closed by the kernel in whoever receives: a TCP connection with SO_LINGER and a full buffer makes that
take as long as the sender likes. And a descriptor that was passed is shared: its O_NONBLOCK and SO_LINGER can be
changed at any time. So descriptors are refused where Linux can do that (6.16 and newer), else taken and closed in a
thread; and on a shared socket every call says itself that it does not wait.
"""

from __future__ import annotations

import array
import errno
import os
import queue
import socket
import stat
import struct
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

O_PATH: int = getattr(os, "O_PATH", 0)
"""0 where it is missing (not Linux), and opening a socket fails: environments are reached by TCP there."""

SO_PASSRIGHTS = 83
"""The option by which a unix socket takes descriptors or not (Linux 6.16, include/uapi/asm-generic/socket.h); not in
Python's `socket`."""

RIGHTS = socket.CMSG_SPACE(253 * array.array("i").itemsize)
"""Bytes for as many descriptors as one message can carry (SCM_MAX_FD): one that finds no room is closed at once."""

NO_LINGER = struct.pack("ii", 0, 0)
"""`struct linger` of a socket whose end is not waited for."""

Ancillary = Iterable[tuple[int, int, bytes]]


def find(path: str) -> int:
    """A descriptor (O_PATH) of the unix socket that lies at `path`; the caller closes it.

    No link is followed. Raises FileNotFoundError and other OSErrors, ConnectionRefusedError if what is there is no
    socket, or somebody else's: what code in an environment puts in the place of one is never opened.
    """
    descriptor = os.open(path, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.fstat(descriptor)
    if stat.S_ISSOCK(info.st_mode) and info.st_uid == os.getuid():
        return descriptor
    os.close(descriptor)
    raise ConnectionRefusedError(errno.ECONNREFUSED, "This is no socket of yours", path)


def connect(path: str, *, passing: bool = False) -> socket.socket:
    """A connected, non-blocking stream socket. Raises OSError as `find` does, BlockingIOError for a full backlog.

    By the descriptor, so that it is the socket that was looked at, and its path may be longer than 107 bytes.

    Parameters
    ----------
    passing
        Whether descriptors may come with what is received; then the socket is a `GuardedSocket`.
    """
    descriptor = find(path)
    try:
        sock = _new(passing)
        try:
            sock.connect(f"/proc/self/fd/{descriptor}")
        except BaseException:
            sock.close()
            raise
    finally:
        os.close(descriptor)
    return sock


def _new(passing: bool) -> socket.socket:
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    if not passing:
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:  # an older kernel
            sock.close()
        else:
            return sock
    return GuardedSocket(socket.AF_UNIX, kind)


class GuardedSocket(socket.socket):
    """A stream socket whose other end, or other owner, is hostile: no call of it waits, `close` neither."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, type, proto, fileno)
        self._unix = self.family == socket.AF_UNIX

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if not self._unix or flags & socket.MSG_PEEK:  # a look takes no descriptor out of the queue
            return super().recv(bufsize, flags | socket.MSG_DONTWAIT)
        data, rights, _, _ = super().recvmsg(bufsize, RIGHTS, flags | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        drop(descriptors(rights))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if not self._unix:
            return super().recv_into(buffer, nbytes, flags | socket.MSG_DONTWAIT)
        view = memoryview(buffer)[:nbytes] if nbytes else buffer
        flags |= socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        size, rights, _, _ = super().recvmsg_into([view], RIGHTS, flags)
        drop(descriptors(rights))
        return size

    def send(self, data: Any, flags: int = 0, /) -> int:
        return super().send(data, flags | socket.MSG_DONTWAIT)

    def sendmsg(
        self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:  # asyncio's `writelines`, from Python 3.12 on
        return super().sendmsg(buffers, ancdata, flags | socket.MSG_DONTWAIT, address)

    def close(self) -> None:
        """Let go of it; the kernel may take its time, in a thread."""
        descriptor = self.detach()
        if descriptor >= 0:
            drop([descriptor])


def passed(numbers: Sequence[int]) -> GuardedSocket | None:
    """The one connected TCP or unix stream socket among descriptors that came with a message, else None.

    Whatever else came is let go of, all of it if it is not exactly that.
    """
    if len(numbers) != 1:
        drop(numbers)
        return None
    [number] = numbers
    sock = None
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            sock = GuardedSocket(fileno=number)
            if _connected_stream(sock):
                sock.setblocking(False)
                return sock
    except OSError:
        pass
    drop([number if sock is None else sock.detach()])
    return None


def _connected_stream(sock: socket.socket) -> bool:
    """Raises OSError for one that is not connected."""
    families = (socket.AF_INET, socket.AF_INET6)
    kinds = {(socket.AF_UNIX, 0), *((family, proto) for family in families for proto in (0, socket.IPPROTO_TCP))}
    if sock.type != socket.SOCK_STREAM or (sock.family, sock.proto) not in kinds:
        return False
    sock.getpeername()
    return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def descriptors(rights: Ancillary) -> list[int]:
    """The descriptors that came with a message, now ours."""
    numbers = array.array("i")
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
    return list(numbers)


def drop(numbers: Sequence[int]) -> None:
    """Close descriptors that somebody else may have prepared so that closing them waits."""
    for number in numbers:
        _closer.close(number)


class _Closer:
    """Threads that close descriptors: as many as closes wait at the same time, usually one or none."""

    def __init__(self) -> None:
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)

    def close(self, number: int) -> None:
        self._numbers.put(number)
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="mlenv-close", daemon=True).start()

    def _work(self) -> None:
        while True:
            number = self._numbers.get()
            try:
                sock = socket.socket(fileno=number)
            except OSError:  # something that is no socket
                with suppress(OSError):
                    os.close(number)
            else:
                with sock, suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self._idle.release()


_closer = _Closer()
