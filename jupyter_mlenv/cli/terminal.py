"""Joins the person's terminal, or pipes, to a command in a container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Coroutine, Iterator
from typing import Any

from ..agent_client.exec_session import ExecSession
from ..errors import AgentUnreachable

CHUNK_BYTES = 1 << 16
"""Bytes read at once."""

SIGNALLED = 128
"""A shell's exit status of a command that a signal has ended is this plus the signal's number."""


async def attach(session: ExecSession, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> int:
    """Copy input, output, signals and window sizes until the command has ended; its exit status as a shell gives it.

    If the session has a terminal, the person's is in raw mode meanwhile, and as it was before however this ends.
    SIGINT and SIGTERM are passed on; a second one of them, or SIGHUP, ends the session and with it the command. Closing
    standard output (`| head`) does the same. Bytes are passed as they are.

    Raises AgentUnreachable if the environment goes away.
    """
    async with session:
        with _raw(session, stdin), _signals(session, stdin) as received:
            feeding = asyncio.create_task(_feed(session, stdin))
            try:
                async for stream, data in session:
                    await asyncio.to_thread(_write, stdout if stream == "stdout" else stderr, data)
            except BrokenPipeError:
                return SIGNALLED + signal.SIGPIPE
            except AgentUnreachable:
                if received.gave_up:
                    return SIGNALLED + received.gave_up
                raise
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
    code = session.exit_code or 0
    return code if code >= 0 else SIGNALLED - code


class _Received:
    def __init__(self) -> None:
        self.gave_up = 0  # the signal that ended the session
        self.passed: set[int] = set()
        self.tasks: set[asyncio.Task[None]] = set()


@contextlib.contextmanager
def _signals(session: ExecSession, stdin: int) -> Iterator[_Received]:
    loop, received = asyncio.get_running_loop(), _Received()

    def do(work: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(work)
        received.tasks.add(task)
        task.add_done_callback(received.tasks.discard)

    def on_signal(number: signal.Signals) -> None:
        if number == signal.SIGWINCH:
            do(session.resize(*_size(stdin)))
        elif number == signal.SIGHUP or number in received.passed:
            received.gave_up = number
            do(session.close())
        else:
            received.passed.add(number)
            do(session.signal(number.name))

    handled = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if session.tty and os.isatty(stdin):
        handled.append(signal.SIGWINCH)
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield received
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _raw(session: ExecSession, stdin: int) -> Iterator[None]:
    if not (session.tty and os.isatty(stdin)):
        yield
        return
    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin, termios.TCSANOW)  # not the default, which throws away what was typed ahead
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSANOW, before)


def _size(fd: int) -> tuple[int, int]:
    """Rows and columns."""
    size = os.get_terminal_size(fd)
    return size.lines, size.columns


async def _feed(session: ExecSession, stdin: int) -> None:
    while data := await _read(stdin):
        await session.write(data)
    await session.write_eof()


async def _read(fd: int) -> bytes:
    """Read the bytes that are there; empty at the end. The descriptor stays blocking: other processes share it."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    except PermissionError:
        return os.read(fd, CHUNK_BYTES)  # a file or /dev/null: cannot be waited for and never blocks
    except OSError:
        return b""  # closed
    try:
        await ready
    finally:
        loop.remove_reader(fd)
    try:
        return os.read(fd, CHUNK_BYTES)
    except OSError:
        return b""  # the terminal has been closed


def _write(fd: int, data: bytes) -> None:
    """Write all bytes, also where another process has made the descriptor non-blocking. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
