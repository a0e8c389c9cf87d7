"""Blocking work for a coroutine, in a few daemon threads of our own.

Not the event loop's default executor: it has few threads, tornado resolves names in it, and a stuck engine would hang
everything else. And not a `ThreadPoolExecutor`: the interpreter waits for its threads when it ends, so one call that
never returns would keep a server from stopping.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FILE_THREADS = 8
"""Threads that look at the file system for everybody; a disk that does not answer keeps the ones that ask it."""


async def off_loop(work: Callable[..., T], *args: Any) -> T:
    """`work(*args)`, which looks at the file system or blocks in another way, in a thread that this process shares."""
    process = os.getpid()
    if process not in _shared:  # a forked process has the object and not the threads
        _shared.clear()
        _shared[process] = Workers(FILE_THREADS, "mlenv-disk")
    return await _shared[process].run(partial(work, *args))


class Workers:
    """At most so many threads, made when they are needed; they end with `close`, or with the process."""

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._news = threading.Condition()

    async def run(self, work: Callable[[], T], *, finish: bool = False, undo: Callable[[T], object] | None = None) -> T:
        """Run `work` in a thread.

        A cancelled caller leaves at once, unless `finish` is set: then it first waits for work that has begun, so that
        nothing appears behind its back. `undo` is called with the result that nobody takes any more. Raises
        RuntimeError once this is closed.
        """
        call = _Call(work, undo)
        future = self._submit(call)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if future.cancel():
                raise
            waiting.add_done_callback(_look_at)
            late = call.abandon()
            if finish or undo is not None:
                await asyncio.wait([waiting])
                if late is not None:
                    await asyncio.wait([asyncio.wrap_future(self._submit(late))])
            raise

    def close(self) -> None:
        """Take no more work; what has not begun is dropped, what has is not waited for."""
        with self._news:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._news.notify_all()
        for future, _ in dropped:
            future.cancel()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._news:
            if self._closed:
                raise RuntimeError(f"the threads {self._name} are closed")
            self._waiting.append((future, work))
            if self._idle < len(self._waiting) and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
            self._news.notify()
        return future

    def _serve(self) -> None:
        while True:
            with self._news:
                self._idle += 1
                while not self._waiting and not self._closed:
                    self._news.wait()
                self._idle -= 1
                if not self._waiting:
                    return
                future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits, who raises it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del future, work


_shared: dict[int, Workers] = {}


class _Call(Generic[T]):
    """Work whose result is undone exactly once if it is abandoned, before or after it ended."""

    def __init__(self, work: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self._work = work
        self._undo = undo
        self._lock = threading.Lock()
        self._abandoned = False
        self._result: list[T] = []

    def __call__(self) -> T:
        result = self._work()
        with self._lock:
            self._result.append(result)
            abandoned = self._abandoned
        if abandoned and self._undo:
            self._undo(result)
        return result

    def abandon(self) -> Callable[[], object] | None:
        """Nobody wants the result. Returns what is left to do if it is there already."""
        with self._lock:
            self._abandoned = True
            undo = self._undo
            if not self._result or undo is None:
                return None
            result = self._result[0]
        return lambda: undo(result)


def _look_at(future: asyncio.Future[T]) -> None:
    """An error that nobody waits for is not worth a warning of asyncio's."""
    if not future.cancelled():
        future.exception()
