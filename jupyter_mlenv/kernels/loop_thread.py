"""The thread of a process's kernels: one event loop, shared by all of them, closed at the end of the process.

jupyter_client drives a provisioner from whatever event loop is at hand: a server's, one that runs only during a call
(the synchronous `KernelManager`), another one per notebook. What must live on between the calls, above all the
connections that hold kernels alive and tell of their ends, needs a loop that always runs.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import json
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from jupyter_core.application import JupyterApp
from jupyter_core.paths import jupyter_config_path
from traitlets.config import Config

from ..config import MlenvConfig
from ..environments import Environments
from ..environments.jobs import Jobs
from .signed_record import Notes
from .use_cases import Served, UseCases

T = TypeVar("T")

Admit = Callable[[], Awaitable[None]]

CLOSE_SECONDS = 7.0
"""Seconds that the end of the process waits for what is being cleaned up."""


STOP_SECONDS = 1.0
"""Seconds that it then waits for a thread to stop, or for what was cancelled."""


class LoopThread:
    """A thread with an event loop, and the use cases that kernels call from it."""

    def __init__(
        self,
        config: MlenvConfig,
        served: Served | None = None,
        notes: Notes | None = None,
        admit: Admit | None = None,
    ) -> None:
        self.settings = served.environments.settings if served else config.settings()
        self.notes, self.admit = notes, admit
        self._offers: dict[str, Mapping[str, Any]] = {}
        self._use_cases = UseCases(lambda: Environments(config.engine(), self.settings, Jobs()), self.settings, served)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mlenv-kernels", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[UseCases], Coroutine[Any, Any, T]]) -> T:
        """Await `work` in the thread's loop from any other; cancelled here, it is cancelled there."""
        return await asyncio.wrap_future(self.start(work))

    def start(self, work: Callable[[UseCases], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Run `work` in the thread's loop; it goes on when the caller's loop does not."""
        return self._submit(work(self._use_cases))

    def offer(self, info: Mapping[str, Any]) -> None:
        """The next start of the kernel that this is about, by `get_provisioner_info`, takes over the one that lives."""
        self._offers[info["kernel_id"]] = info

    def claim(self, kernel_id: str) -> Mapping[str, Any] | None:
        """Return what has been offered of this kernel, once."""
        return self._offers.pop(kernel_id, None)

    def close(self) -> None:
        """Let go of the engine and stop the thread. What still runs is cancelled. Environments keep running."""
        if not self._thread.is_alive():
            return
        ended = self._submit(self._close())
        concurrent.futures.wait([ended], CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:  # one that waits for an engine which does not answer ends when that is let go of
            await asyncio.wait(others, timeout=STOP_SECONDS)
        await self._use_cases.close()


class _Files(JupyterApp):
    """Reads the configuration files that the command line and the server read."""

    name = "jupyter-mlenv"

    def _config_file_name_default(self) -> str:
        return "jupyter_server_config"

    def given(self) -> Config:
        """Return the configuration: the server's settings first, then our own file."""
        self.load_config_file()
        self.config_file_name = "jupyter_mlenv_config"
        self.load_config_file()
        return Config(self.config)


_lock = threading.Lock()
_running: dict[str, LoopThread] = {}
_own: list[LoopThread] = []
_process = os.getpid()


def shared(config: Config) -> LoopThread:
    """The thread of this process: the server's own settings where a server runs, else configuration files and, on
    top, `config`, as whoever starts the kernel has it."""
    with _lock:
        _forget_after_fork()
        if _own:
            return _own[-1]
        key = json.dumps([config.get("MlenvConfig", {}), jupyter_config_path()], default=repr, sort_keys=True)
        if key not in _running:
            _running[key] = LoopThread(configured(config))
        return _running[key]


def configured(config: Config) -> MlenvConfig:
    """Return the configuration of the files, with `config` on top."""
    given = _Files().given()
    given.merge(Config({"MlenvConfig": config.get("MlenvConfig", {})}))
    return MlenvConfig(config=given)


def use(config: MlenvConfig, served: Served, notes: Notes | None = None, admit: Admit | None = None) -> LoopThread:
    """From now on kernels of this process have a server's use cases, and `notes` are left about them, until `release`.

    `admit` is awaited before each start of a kernel, where it was asked for, and raises if it may not be.
    """
    with _lock:
        _forget_after_fork()
        _own.append(LoopThread(config, served, notes, admit))
        return _own[-1]


def release(thread: LoopThread) -> None:
    """Take back `use`. Blocks until it is closed."""
    with _lock:
        if thread in _own:
            _own.remove(thread)
    thread.close()


@atexit.register
def close() -> None:
    """Close all; the next kernel opens one again."""
    with _lock:
        _forget_after_fork()
        every = [*_running.values(), *_own]
        _running.clear()
        _own.clear()
    for thread in every:
        thread.close()


def _forget_after_fork() -> None:
    """A forked process has the objects and not the threads."""
    global _process  # noqa: PLW0603  (the one fact about this process)
    if _process != os.getpid():
        _process = os.getpid()
        _running.clear()
        _own.clear()
