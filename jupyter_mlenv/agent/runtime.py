"""The parts that everything the agent runs shares."""

from __future__ import annotations

import os
import sys
from signal import SIGTERM

from .files import shell_sets_something
from .loop import join, log, wait

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from .loop import Loop, Task
    from .memory import Memory
    from .overlay import Python
    from .process import Children

SHUTDOWN_GRACE_SECONDS = 3.0  # between SIGTERM and SIGKILL when the agent ends: the engine grants 10 s


class Runtime:
    """The loop, the run directory, the child processes and the interpreter of an environment.

    `children` and the interpreter are looked at when they are first wanted, since being ready needs neither.
    """

    def __init__(self, loop: Loop, run_dir: str) -> None:
        self.loop, self.run_dir = loop, run_dir
        self.ending = False
        self.ports: set[int] = set()  # of services and kernels, which are known by other names
        self._children: Children | None = None
        self._python: Python | None = None
        self._memory: Memory | None = None
        self._activation: Task | None = None

    @property
    def children(self) -> Children:
        if self._children is None:
            from .process import Children  # noqa: PLC0415

            self._children = Children(self.loop)
        return self._children

    def memory(self) -> Memory:
        """Return the container's memory, by which processes are known that were killed for want of it."""
        if self._memory is None:
            from .memory import Memory  # noqa: PLC0415

            self._memory = Memory()
        return self._memory

    async def activated(self) -> None:
        """Wait until our variables are those that a shell in the image has; see `activation`."""
        if self._activation is None:
            self._activation = self.loop.spawn(self._activate())
        await join(self._activation)

    async def _activate(self) -> None:
        if not shell_sets_something(sys.executable):
            return
        from . import activation  # noqa: PLC0415

        try:
            await activation.activate(self.loop, self.children, sys.executable)
        except (OSError, ValueError) as error:
            log(f"what the image sets up for a shell is not there: {error}")

    def python(self) -> Python:
        """Return what kernels and services run, with a place for what is installed in one of them."""
        if self._python is None:
            from . import overlay  # noqa: PLC0415

            try:
                self._python = overlay.prepare(sys.executable, os.path.expanduser("~"))
            except (OSError, ValueError) as error:
                log(f"there is no place for packages that are installed later: {error}")
                self._python = overlay.Python(sys.executable)
        return self._python

    def reap(self) -> None:
        """Take note of the children that have ended."""
        if self._children is not None:
            self._children.reap()

    async def shut_down(self) -> None:
        """End all children, then the loop."""
        self.ending = True
        if self._children is not None:
            children = self._children.all
            for task in [self.loop.spawn(child.stop(SIGTERM, SHUTDOWN_GRACE_SECONDS)) for child in children]:
                await join(task)
        await wait([], 0.01)  # the last lines into the log
        self.loop.stopped = True
