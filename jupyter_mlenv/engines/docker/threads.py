"""Blocking calls for a coroutine: a pool of our own, and streams that end when their consumer does.

The event loop's default executor is not used: it has few threads, tornado resolves names in it, and a stuck engine
would hang everything else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from .connection import Connection

T = TypeVar("T")

AHEAD = 512
"""Items a stream's thread may be ahead of its consumer."""

GOODBYE = 5.0
"""Seconds to wait for a stream's thread after its socket was cut; it takes well below a millisecond."""


class Workers:
    """A small thread pool, made on first use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], T], *, finish: bool = False, undo: Callable[[T], object] | None = None) -> T:
        """Run `work` in a thread.

        A cancelled caller leaves at once, unless `finish` is set: then it first waits for work that has begun, so that
        nothing appears behind its back. `undo` is called with the result that nobody takes any more.
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
        """Take no more work; what has not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="mlenv-docker")
        return self._pool.submit(work)


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


class _Stopped(Exception):
    """Raised in a stream's thread when its consumer has gone."""


class _Feed(Generic[T]):
    """What a stream's thread and its consumer share."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.items: deque[T] = deque()
        self.wake = asyncio.Event()
        self.done: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.slots = threading.Semaphore(AHEAD)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def attach(self, connection: Connection) -> None:
        with self._lock:
            self._connection = connection
        if self._stopped.is_set():
            raise _Stopped

    def put(self, item: T) -> None:
        self.slots.acquire()
        if self._stopped.is_set():
            raise _Stopped
        self.items.append(item)
        self.loop.call_soon_threadsafe(self.wake.set)

    def stop(self) -> None:
        self._stopped.set()
        self.slots.release()
        with self._lock:
            if self._connection is not None:
                self._connection.cut()

    def work(self, connect: Callable[[], Connection], read: Callable[[Connection], Iterator[T]]) -> None:
        failure: BaseException | None = None
        try:
            connection = connect()
            self.attach(connection)
            try:
                for item in read(connection):
                    self.put(item)
            finally:
                connection.close()
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - handed to the consumer, who raises it
            failure = error
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end, failure)

    def _end(self, failure: BaseException | None) -> None:
        if not self.done.done():
            self.done.set_result(failure)
        self.wake.set()


async def stream(
    connect: Callable[[], Connection], read: Callable[[Connection], Iterator[T]]
) -> AsyncGenerator[T, None]:
    """The items of a blocking iterator over a connection of its own, made in a thread of its own.

    Closing the generator (or cancelling the task that waits in it) cuts the connection, which ends thread and request
    at once; the engine then stops what the request was for.
    """
    feed: _Feed[T] = _Feed()
    threading.Thread(target=feed.work, args=(connect, read), daemon=True, name="mlenv-docker-stream").start()
    try:
        while True:
            while feed.items:
                feed.slots.release()
                yield feed.items.popleft()
            if feed.done.done():
                failure = feed.done.result()
                if failure is not None:
                    raise failure
                return
            feed.wake.clear()
            if not feed.items:
                await feed.wake.wait()
    finally:
        feed.stop()
        await asyncio.wait([feed.done], timeout=GOODBYE)
