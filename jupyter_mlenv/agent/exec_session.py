"""`POST /v1/exec`: a program that a client started, with its input and output in frames."""

from __future__ import annotations

import binascii
import os
import signal
import socket
import sys

from .channel import CHUNK_BYTES, Channel, linger
from .http import MAX_BODY_BYTES, Refused, signal_number, want
from .loop import join, until
from .process import PIPE, STOP_GRACE_SECONDS, not_started

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from typing import Any

    from .http import Connection, Request
    from .loop import Task, Waiters
    from .process import Child
    from .runtime import Runtime


async def run(runtime: Runtime, connection: Connection, request: Request) -> None:
    """Run the program of a request; returns when it has ended, or its client has gone. Raises Refused."""
    if request.headers.get("upgrade") != "mlenv-exec":
        raise Refused(400, "bad_request", "exec needs `Upgrade: mlenv-exec`.")
    try:
        request.body = binascii.a2b_base64(request.headers.get("x-mlenv-exec", ""))
    except ValueError:
        raise Refused(400, "bad_request", "X-Mlenv-Exec is not base64.") from None
    body = request.json()
    argv, tty = want(body, "command", "argv"), want(body, "tty", bool, False)
    given = {name: str(value) for name, value in want(body, "env", "map", {}).items()}
    await runtime.activated()
    environ = runtime.python().environ(dict(os.environ, **given))
    options: dict[str, Any] = {"env": environ, "cwd": want(body, "cwd", str, "") or None, "kill_group": False}
    size = want(body, "rows", int, 24), want(body, "cols", int, 80)
    client, ended = connection.channel, connection.channel.hangup
    try:
        if tty:
            environ.setdefault("TERM", "xterm-256color")
            child, stdin = terminal(runtime, ended, argv, size, options)
            outputs = [(1, stdin)]
        else:
            child = runtime.children.start(ended, argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)
            pipes: list[Any] = [child.popen.stdin, child.popen.stdout, child.popen.stderr]
            stdin, out, err = (Channel(runtime.loop, pipe.fileno(), pipe) for pipe in pipes)
            outputs = [(1, out), (2, err)]
    except (OSError, ValueError) as error:
        raise Refused(422, "command_failed", not_started(error)) from None
    forwards: list[Task] = []
    feed = runtime.loop.spawn(feed_frames(connection, child, stdin, tty))
    try:
        await client.write(b"HTTP/1.1 101 Upgraded\r\nUpgrade: mlenv-exec\r\nConnection: Upgrade\r\n\r\n")
        forwards += [runtime.loop.spawn(forward(channel, kind, connection)) for kind, channel in outputs]
        await until(ended, lambda: child.ended() or client.gone)
        for _, channel in outputs:
            channel.drain()
        for task in forwards:
            await join(task, client)
        if child.exit_code is not None and not client.gone:
            await connection.frame(3, child.exit_code.to_bytes(4, "big", signed=True))
            runtime.loop.cancel(feed)
            await linger(client)
    finally:
        for task in (feed, *forwards):
            runtime.loop.cancel(task)
        for channel in (stdin, *(channel for _, channel in outputs)):
            channel.close()
        runtime.loop.spawn(child.stop(signal.SIGHUP, STOP_GRACE_SECONDS))


def terminal(
    runtime: Runtime, ended: Waiters, argv: list[str], size: tuple[int, int], options: dict[str, Any]
) -> tuple[Child, Channel]:
    """Return a child with a terminal of its own, and the terminal's other end."""
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, window(*size))
        options["preexec_fn"] = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        child = runtime.children.start(ended, argv, stdin=slave, stdout=slave, stderr=slave, **options)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    return child, Channel(runtime.loop, master)


async def feed_frames(connection: Connection, child: Child, stdin: Channel, tty: bool) -> None:
    """Pass on input, sizes and signals from the client. A frame that makes no sense is ignored."""
    while True:
        head = await connection.take(5)
        size = int.from_bytes(head[1:], "big")
        if size > MAX_BODY_BYTES:
            return connection.channel.shutdown(socket.SHUT_RDWR)
        payload = await connection.take(size)
        try:
            if head[0] == 0:
                await feed_input(stdin, tty, payload)
            elif head[0] == 1 and tty and size == 4:
                import fcntl  # noqa: PLC0415
                import termios  # noqa: PLC0415

                rows, cols = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")
                fcntl.ioctl(stdin.fd, termios.TIOCSWINSZ, window(rows, cols))
            elif head[0] == 2 and not child.ended():
                group = os.tcgetpgrp(stdin.fd) if tty else child.pid
                os.killpg(group or child.pid, signal_number(payload.decode("latin-1")))
        except (OSError, Refused):
            pass  # it does not read or has ended; its exit is what counts


async def feed_input(stdin: Channel, tty: bool, payload: bytes) -> None:
    if payload:
        await stdin.write(payload)
    elif tty:
        await stdin.write(b"\x04")  # what the end of input looks like on a terminal
    else:
        stdin.close()


async def forward(channel: Channel, kind: int, connection: Connection) -> None:
    chunk = memoryview(bytearray(CHUNK_BYTES))
    while True:
        count = await channel.read_into(chunk)
        if not count:
            return
        await connection.frame(kind, bytes(chunk[:count]))


def window(rows: int, cols: int) -> bytes:
    """Return the kernel's `struct winsize`."""
    return b"".join(min(max(n, 0), 65535).to_bytes(2, sys.byteorder) for n in (rows, cols, 0, 0))
