"""Outputs of a kernel that wait for a client which is slower than they come, instead of being lost.

ipykernel's output socket holds 1,000 messages for each client and drops what comes on top. Over TCP the system's
buffers take megabytes more; a unix socket's take some two hundred kilobytes, and bursts got lost. Here what the socket
does not take at once waits in the kernel.

A larger mark of the socket would be simpler, and without a bound in bytes: 1,000 plots or 1,000 words. A mark that is
changed while clients are connected mutes some of them for ever: libzmq (4.3) tells the writer what was read only after
each half mark of messages, so a lower mark makes it believe a pipe to be full that is empty, and after that nothing is
ever read from it again.

Loaded by `zygote.py` and `launch.py`, beside which it lies, in the process that becomes a kernel. Python >= 3.8, the
standard library and the kernel's own ZeroMQ only.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_WAITING_BYTES = 64 << 20
"""Bytes that may wait in a kernel; what is older than them is dropped for the clients that are behind."""

MESSAGE_OVERHEAD_BYTES = 1024
"""Bytes that a waiting message costs on top of its parts."""

STALL_SECONDS = 10.0
"""Seconds that outputs wait for a client that takes none of them; it loses what comes until it reads again."""

SECOND_STALL_SECONDS = 0.25
"""Seconds for a client that was given up once, so that one that sleeps does not hold up the others again and again."""

PAUSES_SECONDS = (0.001, 0.02)
"""Seconds between two attempts: at first, and in the end."""

LAST_FLUSH_SECONDS = 1.0
"""Seconds that a kernel which ends waits for what is left, as long as its socket itself does."""


class Waiting:
    """Messages that wait for the output socket of one `IOPubThread` of ipykernel, in order. Used in that thread
    alone."""

    def __init__(self, thread: Any, send: Callable[..., None]) -> None:
        self.zmq: Any = importlib.import_module("zmq")
        self.thread, self.send, self.process = thread, send, os.getpid()
        self.messages: deque[tuple[Any, dict[str, Any], int]] = deque()
        self.size = 0
        self.stall_seconds = STALL_SECONDS
        self.moved = 0.0  # when the last message was taken
        self.pause = 0.0  # until the next attempt, if one is planned
        self.lossy(False)

    def lossy(self, drops: bool) -> None:
        """Return whether the socket leaves out clients that have no room; else it refuses what not all have room for.

        Set once, not with each message: a cell's round trip is short, and has five of them.
        """
        self.thread.socket.setsockopt(self.zmq.XPUB_NODROP, 0 if drops else 1)

    def put(self, message: Any, options: dict[str, Any]) -> None:
        """Send it, or keep it until those before it are sent."""
        if not self.messages and self.taken(message, options):
            return
        if not self.messages:
            self.moved = time.monotonic()
        size = MESSAGE_OVERHEAD_BYTES + sum(getattr(part, "nbytes", None) or len(part) for part in message)
        self.messages.append((message, options, size))
        self.size += size
        while self.size > MAX_WAITING_BYTES:
            self.drop()
        if self.messages and not self.pause:
            self.plan(PAUSES_SECONDS[0])

    def taken(self, message: Any, options: dict[str, Any]) -> bool:
        """Return whether there was room for it in the pipe of each client that is not behind for good."""
        try:
            self.send(self.thread, message, flags=self.zmq.DONTWAIT, **options)
        except self.zmq.Again:
            return False
        return True

    def drop(self) -> None:
        """Send the oldest to the clients that have room; the others are left out from here on, until they have read."""
        message, options, size = self.messages.popleft()
        self.size -= size
        self.dropping(self.send, self.thread, message, **options)

    def dropping(self, send: Callable[..., None], *args: Any, **options: Any) -> None:
        """Send in a way that never waits, which this thread must not."""
        self.lossy(True)
        try:
            send(*args, **options)
        finally:
            if not self.thread.closed:
                self.lossy(False)

    def plan(self, pause: float) -> None:
        self.pause = pause
        self.thread.io_loop.call_later(pause, self.again)

    def again(self) -> None:
        pause, self.pause = self.pause, 0.0
        if self.thread.closed:
            self.messages.clear()
            return
        now, before = time.monotonic(), len(self.messages)
        self.flush()
        if len(self.messages) < before:
            self.moved, pause = now, PAUSES_SECONDS[0] / 2
        elif self.messages and now - self.moved > self.stall_seconds:
            self.drop()
            self.moved, self.stall_seconds = now, SECOND_STALL_SECONDS
        if not self.messages:
            return
        self.plan(min(pause * 2, PAUSES_SECONDS[1]))

    def flush(self) -> None:
        """Send as much as is taken now."""
        while self.messages:
            message, options, size = self.messages[0]
            if not self.taken(message, options):
                return
            self.messages.popleft()
            self.size -= size

    def finish(self) -> None:
        """Send what is left when the thread has ended."""
        deadline = time.monotonic() + LAST_FLUSH_SECONDS
        while self.messages and not self.thread.closed:
            if time.monotonic() > deadline:
                self.drop()
            else:
                self.flush()
                if self.messages:
                    time.sleep(0.01)
        if not self.thread.closed:
            self.lossy(True)  # what is sent from now on does not pass here


def install(iostream: Any = None) -> bool:
    """Have every `IOPubThread` of this process wait. False for an ipykernel or a ZeroMQ that it cannot be done with."""
    iostream = iostream or importlib.import_module("ipykernel.iostream")
    thread: Any = getattr(iostream, "IOPubThread", None)
    send, stop = getattr(thread, "_really_send", None), getattr(thread, "stop", None)
    welcome: Any = getattr(thread, "_send_welcome_message", None)  # since ipykernel 7, on the socket itself
    if send is None or stop is None or not hasattr(importlib.import_module("zmq"), "XPUB_NODROP"):
        return False

    def really_send(self: Any, message: Any, *args: Any, **options: Any) -> None:
        # Before the thread has begun, after its end and in a process forked from the kernel nothing waits.
        if self.closed or threading.current_thread() is not self.thread:
            send(self, message, *args, **options)
            return
        waiting = self.__dict__.get("_mlenv_waiting")
        if waiting is None:
            waiting = self._mlenv_waiting = Waiting(self, send)
        if args or "flags" in options:
            waiting.dropping(send, self, message, *args, **options)
        else:
            waiting.put(message, options)

    def stopped(self: Any) -> None:
        stop(self)
        waiting = self.__dict__.get("_mlenv_waiting")
        if waiting is not None and waiting.process == os.getpid():
            waiting.finish()

    def welcomed(self: Any, *args: Any) -> None:
        waiting = self.__dict__.get("_mlenv_waiting")
        if waiting is None:
            welcome(self, *args)
        else:
            waiting.dropping(welcome, self, *args)

    thread._really_send, thread.stop = really_send, stopped
    if welcome is not None:
        thread._send_welcome_message = welcomed
    return True
