"""Waiting for something to become true, with an end and a reason; no test sleeps for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def wait_until(check: Callable[[], T], what: str, *, timeout: float = 120.0, interval: float = 0.05) -> T:
    """The first true value of `check()`.

    Raises AssertionError after `timeout` seconds, naming `what` and the last value or exception. `check` may raise
    AssertionError or OSError while it is not true yet; anything else is a bug and is raised at once.
    """
    deadline = time.monotonic() + timeout
    while True:
        value, last = _attempt(check)
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what} (last: {last})")
        time.sleep(interval)


async def eventually(
    check: Callable[[], T | Awaitable[T]], what: str, *, timeout: float = 120.0, interval: float = 0.05
) -> T:
    """`wait_until` for coroutines: `check` may be a plain function or return an awaitable."""
    deadline = time.monotonic() + timeout
    while True:
        last: object = None
        try:
            value = check()
            value = await value if inspect.isawaitable(value) else value
            if value:
                return value
            last = value
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what} (last: {last!r})")
        await asyncio.sleep(interval)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a thread with a loop of its own.

    For session fixtures: synchronous playwright keeps a loop running in the main thread, where `asyncio.run` refuses.
    """
    result: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            result.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, name="run-apart")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def _attempt(check: Callable[[], T]) -> tuple[T | None, object]:
    try:
        value = check()
    except (AssertionError, OSError) as error:
        return None, repr(error)
    return value, repr(value)
