"""A server that was killed, and is started again before its kernels end, has them and their notebooks as before.

Each kernel carries a note that says which of the server's sessions use it. Here those notes are kept up to date, and
read when the server starts, before it listens: a page that is still open asks for its session as soon as it can, and
takes a session that is not there for one that has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.kernelmanager import MappingKernelManager
from jupyter_server.services.sessions.sessionmanager import SessionManager

from ..agent_client.routes import within
from ..kernels.kernel_error import KernelError
from ..kernels.kernelspec import is_ours
from ..kernels.loop_thread import LoopThread
from ..kernels.orphans import orphans
from ..kernels.provisioner import MlenvProvisioner
from ..settings import Settings

SESSION_FIELDS = ("id", "path", "name", "type")
"""Fields of a session, besides its kernel."""

TAKEOVER_TIMEOUT_SECONDS = 15.0
"""Seconds that all of it may keep a server from listening."""


def take_over(server: ServerApp, settings: Settings, thread: LoopThread) -> None:
    """Go on with the kernels of the server's predecessor, and see to it that its successor can. Blocks for a moment
    where there are any."""
    kernels, sessions = server.kernel_manager, server.session_manager
    if not isinstance(kernels, MappingKernelManager) or isinstance(kernels, GatewayMappingKernelManager):
        return  # kernels of another kind of manager, or of another machine
    work = TakeOver(kernels, sessions, thread, server.log)
    work.follow()
    if not os.path.isdir(settings.run_root) or not os.listdir(settings.run_root):
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        server.io_loop.run_sync(lambda: work.run(settings))
    else:  # a server inside of another program
        server.io_loop.add_callback(work.run, settings)


class TakeOver:
    """Keeps the notes of one server, and reads those of its predecessor."""

    def __init__(
        self, kernels: MappingKernelManager, sessions: SessionManager, thread: LoopThread, log: logging.Logger
    ) -> None:
        self._kernels: Any = kernels
        self._sessions: Any = sessions
        self._thread, self._log = thread, log
        self._noting = asyncio.Lock()

    def follow(self) -> None:
        """Note down each change of a session from now on; jupyter_server (2.21) has no event for it."""
        for name in ("save_session", "update_session"):
            setattr(self._sessions, name, self._then_note(getattr(self._sessions, name)))

    async def run(self, settings: Settings) -> None:
        """Take over what there is, as far as it goes in the time."""
        try:
            await within(TAKEOVER_TIMEOUT_SECONDS, self._run(settings))
        except TimeoutError:
            self._log.error(
                "Kernels of an earlier server could not be taken over within %g s.", TAKEOVER_TIMEOUT_SECONDS
            )

    async def _run(self, settings: Settings) -> None:
        notes = self._thread.notes
        assert notes is not None
        found = await self._thread.run(lambda _: orphans(settings, notes))
        for outcome in await asyncio.gather(*(self._take(note) for note in found), return_exceptions=True):
            if isinstance(outcome, Exception):  # a kernel that is left over is no reason for a server not to start
                self._log.error("A kernel of an earlier server cannot be taken over.", exc_info=outcome)

    async def _take(self, note: Mapping[str, Any]) -> None:
        id, name = note["info"]["kernel_id"], note["kernel_name"]
        try:
            # Else it would be another kernel that is started under this id, and perhaps outside of any environment.
            specs: KernelSpecManager = self._kernels.kernel_spec_manager
            if not is_ours(specs.get_kernel_spec(name).to_dict()):
                raise NoSuchKernel(name)
            self._thread.offer(note["info"])
            await self._kernels.start_kernel(
                kernel_id=id, kernel_name=name, cwd=note["cwd"], env={**os.environ, **note["env"]}
            )
        except (KernelError, NoSuchKernel) as error:
            self._thread.claim(id)
            self._log.warning("The kernel %s of an earlier server cannot be taken over: %s", id, error)
            return
        for session in note["sessions"]:
            await self._sessions.save_session(
                session["id"], session["path"], session["name"], session["type"], kernel_id=id
            )
        self._log.info("Kernel %s of an earlier server goes on in the environment %s", id, note["info"]["environment"])

    def _then_note(self, change: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(*args: Any, **kwargs: Any) -> Any:
            answer = await change(*args, **kwargs)
            await self._note()
            return answer

        return changed

    async def _note(self) -> None:
        """Nothing is sent about kernels whose sessions are the ones that have been noted."""
        async with self._noting:  # else an older list of sessions could be noted after a newer one
            sessions = await self._sessions.list_sessions()
            for id in self._kernels.list_kernel_ids():
                provisioner = self._kernels.get_kernel(id).provisioner
                if isinstance(provisioner, MlenvProvisioner):
                    own = [{key: one[key] for key in SESSION_FIELDS} for one in sessions if one["kernel"]["id"] == id]
                    await provisioner.remember(own)
