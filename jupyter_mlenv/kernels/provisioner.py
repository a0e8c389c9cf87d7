"""The provisioner: jupyter_client's door to kernels in environments.

All that talks to an environment is done by a `RemoteKernel`, in the loop of the process's `LoopThread`. Here is what
jupyter_client wants to know of it, and `poll` only reads that.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Unicode

from ..errors import EnvironmentFailed, MlenvError, NotFound
from . import connection_file, loop_thread
from .exit_reason import Exit, log_of, silent
from .kernel_error import KernelError
from .kernelspec import own_argv
from .launch_info import as_json, environment_variables, inner_connection, socket_prefix
from .placement import KernelTarget, Placement
from .remote_kernel import RemoteKernel
from .use_cases import UseCases

T = TypeVar("T")

EXIT_WAIT_SECONDS = 0.25
"""Seconds that `poll` waits for an exit that has been asked for, rather than let the caller sleep over it."""


class MlenvProvisioner(KernelProvisionerBase):
    """Kernels in the environment of a preset, which the kernelspec's `config` names."""

    preset = Unicode(help="The preset of the environment.")
    workspace = Unicode(help="The project folder; empty: that of the notebook.")
    name = Unicode(help="The environment's name, where it has one.")

    _remote: RemoteKernel | None = None
    _life: concurrent.futures.Future[Exit] | None = None
    _exit: Exit | None = None
    _asked = False  # somebody wants the kernel to end, so that its end is no crash
    reason = ""
    """The reason why the kernel ended, as a sentence, until it is started again; empty after an end that was asked
    for."""
    lost = ""
    """The reason where it ended with its environment: it is not started again before a person asks for that."""
    _cwd = ""  # the kernel's folder as its environment sees it
    _folder = ""  # the same as this machine does
    _taken = False  # the kernel that is about to be launched lives already

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._listeners: set[Callable[[str], None]] = set()
        self._env: Mapping[str, str] = {}
        self.sessions: list[Mapping[str, Any]] = []

    @property
    def has_process(self) -> bool:
        return self._life is not None

    async def poll(self) -> int | None:
        """Return `None` while it runs, else its exit code; no engine call and, while it runs, no message either."""
        if self._life is None:
            return 0
        if self._asked and not self._life.done():
            await asyncio.wait([asyncio.wrap_future(self._life)], timeout=EXIT_WAIT_SECONDS)
        return self._ended().code if self._life.done() else None

    async def wait(self) -> int | None:
        """Return its exit code, once it has one."""
        if self._life is None:
            return 0
        await asyncio.wait([asyncio.wrap_future(self._life)])
        code = self._ended().code
        self._life = None
        return code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group, so that what a cell has started hears it too."""
        if self._life is None or signum == 0:
            return
        name = signal.Signals(signum).name
        with suppress(NotFound, EnvironmentFailed):  # it has just ended, which the next poll tells
            await self._run(lambda remote: remote.signal(name))

    async def kill(self, restart: bool = False) -> None:
        self._asked = True
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        self._asked = True
        await self.send_signal(signal.SIGTERM)

    async def shutdown_requested(self, restart: bool = False) -> None:
        """A person wants it to end, or to start anew; a restart after a crash does not come along here."""
        self._asked, self.lost = True, ""

    async def cleanup(self, restart: bool = False) -> None:
        """Let go of the kernel; with `isolate` its environment goes too."""
        if restart:
            return
        try:
            if self._remote is not None:
                await self._run(RemoteKernel.disconnect)
                await self._run(self._end)
        finally:
            self._remote = None
            connection_file.over(self.parent)
        if self._life is not None:
            self._life.cancel()
            self._life = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Find or start the environment, and decide on the sockets. Raises KernelError."""
        if self._thread.admit is not None:
            await self._thread.admit()
        if self.lost:
            raise self._refused()
        self._folder = str(kwargs.pop("cwd", None) or "")
        if info := self._thread.claim(self._id):
            return await self._take_over(info)
        target = KernelTarget(self.preset, self._folder, self._id, self.workspace, self.name)
        try:
            place = await self._run(lambda remote: remote.find(target))
        except MlenvError as error:
            raise self._failed(error) from None  # it is all in the text, and Jupyter logs tracebacks whole
        prefix = os.path.join(place.sockets, socket_prefix(self._id))
        session = kwargs.get("env", {}).get("JPY_SESSION_NAME", "")
        self.connection_info = connection_file.new(self.parent, prefix, session)
        kwargs.pop("transport_encryption", None)
        kwargs = await super().pre_launch(**kwargs)
        return {"cmd": [*self.kernel_spec.argv, *kwargs.pop("extra_arguments", [])], "cwd": place.cwd, **kwargs}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel; returns once its sockets are bound. Raises KernelError."""
        found = self._place
        assert found is not None
        self._env = environment_variables(kwargs.get("env", {}), os.environ, self._thread.settings.pass_env)
        if self._taken:
            self._taken = False
            return self.connection_info
        self._cwd = found.cwd
        request = found.request(
            inner_connection(self.connection_info, self._kernel_name),
            argv=own_argv(cmd) or (),
            env=self._env,
            grace=self._thread.settings.kernel_grace,
            note=self._note(),
        )
        try:
            started = await self._run(lambda remote: remote.start(request))
            await self._run(RemoteKernel.connect)
        except MlenvError as error:
            await self._run(self._end)  # one whose sockets cannot be used may run
            raise self._failed(error) from None
        if started.interrupt_mode:
            self.kernel_spec.interrupt_mode = started.interrupt_mode
        self._exit, self._asked, self.reason = None, False, ""
        self._hold()
        manager: Any = self.parent
        if getattr(manager, "execution_state", "") == "dead":
            manager.reason, manager.execution_state = "", "starting"
        return self.connection_info

    def resolve_path(self, path: str) -> str | None:
        """Return a path of the kernel's as a path of this machine, where both have it in the same place."""
        absolute = Path(self._cwd, os.path.expanduser(path)).resolve()
        return str(absolute) if absolute.exists() else None

    async def get_provisioner_info(self) -> dict[str, Any]:
        return self._info()

    async def remember(self, sessions: Sequence[Mapping[str, Any]]) -> None:
        """Note down which of a server's sessions use the kernel, for the server itself if it is started again."""
        if list(sessions) == self.sessions:
            return
        self.sessions = list(sessions)
        if self._life is not None and (note := self._note()):
            with suppress(MlenvError):  # of a version without notes, or it has just ended
                await self._run(lambda remote: remote.note(note))

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take over a kernel that another process started and that still lives. Raises KernelError."""
        await super().load_provisioner_info(provisioner_info)
        self._cwd = provisioner_info["cwd"]
        self.connection_info["key"] = str(self.connection_info["key"]).encode()  # type: ignore[typeddict-item]
        id, cwd = provisioner_info["environment"], self._cwd
        try:
            await self._run(lambda remote: remote.attach(id, cwd))
            await self._run(RemoteKernel.connect)
        except MlenvError as error:
            raise KernelError(error) from error
        self._exit, self._asked, self.reason = None, False, ""
        self._hold()

    def on_dead(self, told: Callable[[str], None]) -> Callable[[], None]:
        """Call `told(why)` when a kernel that there was has ended for good; returns what takes it back."""
        self._listeners.add(told)
        return lambda: self._listeners.discard(told)

    def _info(self) -> dict[str, Any]:
        """Return what `load_provisioner_info` needs, as JSON."""
        where = {"environment": self._environment, "cwd": self._cwd}
        return {"kernel_id": self._id, "connection_info": as_json(self.connection_info), **where}

    def _note(self) -> dict[str, str]:
        notes = self._thread.notes
        about = {"kernel_name": self._kernel_name, "cwd": self._folder, "env": dict(self._env)}
        return notes.seal({**about, "info": self._info(), "sessions": self.sessions}) if notes else {}

    async def _take_over(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Attach a kernel that lives already; return what `pre_launch` gives. Raises KernelError."""
        await self.load_provisioner_info(dict(info))
        self._taken = True
        connection_file.given(self.parent, self.connection_info)
        return {"cmd": list(self.kernel_spec.argv), "cwd": self._cwd}

    @property
    def _id(self) -> str:
        return str(self.kernel_id)

    @property
    def _place(self) -> Placement | None:
        return self._remote.placement if self._remote else None

    @property
    def _environment(self) -> str:
        return self._place.environment if self._place else ""

    @property
    def _kernel_name(self) -> str:
        return str(getattr(self.parent, "kernel_name", ""))

    @property
    def _thread(self) -> loop_thread.LoopThread:
        return loop_thread.shared(self.config)

    async def _run(self, work: Callable[[RemoteKernel], Coroutine[Any, Any, T]]) -> T:
        """Await `work` on the remote kernel, in the loop that it belongs to."""
        return await self._thread.run(lambda use_cases: work(self._in(use_cases)))

    def _in(self, use_cases: UseCases) -> RemoteKernel:
        if self._remote is None:
            self._remote = RemoteKernel(use_cases, self._id)
        self._remote.use_cases = use_cases
        return self._remote

    async def _end(self, remote: RemoteKernel) -> None:
        await remote.end(self.log)

    def _hold(self) -> None:
        self._life = self._thread.start(lambda use_cases: self._in(use_cases).follow())

    def _ended(self) -> Exit:
        if self._exit is None:
            assert self._life is not None
            broken = self._life.cancelled() or self._life.exception()
            self._exit = silent(self._environment) if broken else self._life.result()
            if self._remote is not None:
                self._remote.drop_links()
            if not self._asked:
                self.reason = self._exit.reason
                self.lost = self.reason if self._exit.gone else ""
                if self.reason:
                    log_of(self).error("Kernel %s: %s", self._id, self.reason)
                if self.parent is not None and self.parent.has_trait("reason"):
                    self.parent.reason = self.reason
        return self._exit

    def _refused(self) -> KernelError:
        """Refuse to start again by itself what a person has just stopped or removed: the kernel is dead."""
        reason, self.lost = self.lost, ""
        self._life = None
        if self._remote is not None:
            self._remote.placement = None
        return self._failed(EnvironmentFailed(reason))

    def _failed(self, error: MlenvError) -> KernelError:
        """Return why there is no kernel now, and tell those who have been using the one that there was."""
        failure = KernelError(error)
        if self._exit is None:
            return failure
        manager: Any = self.parent
        if manager.has_trait("reason"):
            # A Jupyter server's: it stays in the server's list, where a person can restart it. Announced as "dead" it
            # would be dropped there, together with the notebook's session.
            manager.reason, manager.execution_state = str(failure), "dead"
        elif restarter := getattr(manager, "_restarter", None):
            restarter._fire_callbacks("dead")
        for told in tuple(self._listeners):
            told(str(failure))
        return failure
