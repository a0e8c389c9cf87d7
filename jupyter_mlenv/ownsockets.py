"""Unix sockets in directories where others can write: looked at before they are connected to."""

from __future__ import annotations

import errno
import os
import socket
import stat

O_PATH: int = getattr(os, "O_PATH", 0)
"""Where it is missing (not Linux), opening a socket fails: environments are reached by TCP there."""


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


def connect(path: str) -> socket.socket:
    """A connected, non-blocking stream socket. Raises OSError as `find` does, BlockingIOError for a full backlog.

    By the descriptor, so that it is the socket that was looked at, and its path may be longer than 107 bytes.
    """
    descriptor = find(path)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{descriptor}")
        except BaseException:
            sock.close()
            raise
    finally:
        os.close(descriptor)
    return sock
