"""Streams of blocking calls for a coroutine: they end when their consumer does."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Generic, TypeVar

from .connection import Connection

T = TypeVar("T")

MAX_ITEMS_AHEAD = 2048
"""Items a stream's thread may be ahead of its consumer."""

ITEMS_PER_TURN = 512
"""Items that a consumer gets before the event loop may do something else: 1 ms of a job's log."""

TURN_PAUSE_SECONDS = 0.005
"""Seconds that a consumer with so many items leaves to everybody else."""

CLOSE_TIMEOUT_SECONDS = 2.0
"""Seconds to wait for a stream's thread after its socket was cut; it takes well below a millisecond."""


class _Stopped(Exception):
    """Raised in a stream's thread when its consumer has gone."""


class _Feed(Generic[T]):
    """The state that a stream's thread and its consumer share."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.items: deque[T] = deque()
        self.wake = asyncio.Event()
        self.done: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.slots = threading.Semaphore(MAX_ITEMS_AHEAD)
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
        if not self.wake.is_set():
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
            for _ in range(min(ITEMS_PER_TURN, len(feed.items))):
                feed.slots.release()
                yield feed.items.popleft()
            if feed.items:
                await asyncio.sleep(TURN_PAUSE_SECONDS)
                continue
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
        await asyncio.wait([feed.done], timeout=CLOSE_TIMEOUT_SECONDS)
