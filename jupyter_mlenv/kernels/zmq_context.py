"""A ZeroMQ context for each kernel: what one kernel does to the thread that receives from it holds up no other.

ZeroMQ receives in a thread of the context, which a Jupyter server has one of for all its kernels. It closes descriptors
that code in an environment sends along, which can take as long as that code likes (see `unix_sockets`). For the same
reason a context is ended in a thread that nobody waits for, also not the end of the process.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from contextlib import suppress
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.manager import AsyncKernelManager

RECONNECT = (10, 200)
"""Milliseconds between a socket's attempts to find a kernel that is started again: at first, and in the end.

By default they are 100 to 200, longer than a restart takes, and a socket that comes late misses the first output.
"""

_going_on = True
"""True while a thread can start: at the end of Python it cannot, `Thread.start` waits for ever, and no end is
needed."""


@atexit.register
def _end_no_more() -> None:
    global _going_on  # noqa: PLW0603  (the one fact about this process)
    _going_on = False


class KernelContext(zmq.Context[Any]):
    """A context that ends itself once it is over and the last of its sockets is closed.

    Not before: whoever uses a socket of a context that is being ended gets errors without end.
    """

    _used: set[int]
    _over: bool
    _once: Any

    def __init__(self) -> None:
        super().__init__()
        self._used, self._over, self._once = set(), False, threading.Lock()
        self.setsockopt(zmq.RECONNECT_IVL, RECONNECT[0])
        self.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT[1])

    def __del__(self) -> None:
        self.over()  # the one of ZeroMQ's class would wait

    @property
    def is_over(self) -> bool:
        return self._over

    def over(self) -> None:
        """No socket will be made any more. Does not block."""
        self._over = True
        self._end_unused()

    def socket(self, *args: Any, **kwargs: Any) -> Any:
        sock = super().socket(*args, **kwargs)
        self._used.add(id(sock))
        return sock

    def _rm_socket(self, socket: Any) -> None:
        """Forget a socket; each calls this when it is closed."""
        super()._rm_socket(socket)
        self._used.discard(id(socket))
        self._end_unused()

    def _end_unused(self) -> None:
        if _going_on and self._over and not self._used and self._once.acquire(blocking=False):
            with suppress(RuntimeError):  # there are as many threads as there may be
                threading.Thread(target=self.term, name="mlenv-zmq-end", daemon=True).start()


class AsyncKernelContext(KernelContext, zmq.asyncio.Context):
    """A kernel's context for sockets of asyncio."""


def own(manager: Any) -> None:
    """Give a kernel manager of jupyter_client a context of its own, unless it has one that is not over.

    It is over when somebody says so, by `over`, or when the manager is gone. Called before each start, when nothing is
    connected; a restart finds the one of the start, which open sockets go on with.
    """
    earlier = manager.context if manager.trait_has_value("context") else None
    if isinstance(earlier, KernelContext) and not earlier.is_over:
        return
    asynchronous = isinstance(manager if earlier is None else earlier, (AsyncKernelManager, zmq.asyncio.Context))
    context = AsyncKernelContext() if asynchronous else KernelContext()
    manager._created_context = False  # else jupyter_client ends it itself, and waits for that
    manager.context = context
    weakref.finalize(manager, context.over).atexit = False


def over(manager: Any) -> None:
    """The manager's kernel is shut down: its context ends with its last socket. Does not block."""
    if manager.trait_has_value("context") and isinstance(manager.context, KernelContext):
        manager.context.over()
