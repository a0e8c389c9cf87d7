"""Zygotes: processes of the environment's Python with everything imported, which fork kernels."""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from .channel import Channel
from .http import Connection
from .logged_process import LoggedProcess
from .loop import join, log, until
from .process import DEVNULL, PIPE, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .loop import Waiters
    from .process import Child
    from .runtime import Runtime

MAX_ZYGOTES = 4  # kept at once; each costs about 35 MB and what is preloaded
PER_KERNEL = ("JPY_", "KERNEL_")  # variables that may differ between the kernels of one zygote
PR_SET_CHILD_SUBREAPER = 36  # of prctl(2)
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel_process", "zygote.py")


class Zygote(LoggedProcess):
    """A process that forks kernels, each of which becomes a child of the agent. Requests queue while it imports."""

    def __init__(self, runtime: Runtime, env: dict[str, str], preload: list[str]) -> None:
        super().__init__("zygote")
        self.loop, self.busy, self.dead = runtime.loop, False, False
        self.proven = False  # it has forked a kernel
        ours, theirs = socket.socketpair()
        self.channel = Channel(runtime.loop, ours.fileno(), ours)
        self.connection = Connection(self.channel)
        command = [runtime.python().path, PROGRAM, str(theirs.fileno()), *preload]
        options: dict[str, Any] = {"env": env, "cwd": "/", "pass_fds": (theirs.fileno(),)}
        try:
            options.update(stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
            self.child = runtime.children.start(self.changed, command, **options)
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        runtime.loop.spawn(self.watch(self.child))

    async def watch(self, child: Child) -> None:
        assert child.popen.stdout is not None
        output = Channel(self.loop, child.popen.stdout.fileno(), child.popen.stdout)
        reader = self.loop.spawn(self.read(output))
        await until(self.changed, child.ended)
        output.drain()
        await join(reader)
        output.close()
        log(f"[zygote] ended with {child.exit_code}")
        self.close()

    def close(self) -> None:
        """No more kernels from it; those that there are go on."""
        self.dead = True
        self.channel.close()
        self.loop.fire(self.changed)

    async def fork(self, request: dict[str, Any], output: int, timeout: float) -> int:
        """Return the pid of a new kernel that writes to `output`, or 0. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        if not await until(self.changed, lambda: not self.busy or self.dead, timeout):
            raise TimeoutError
        if self.dead:
            return 0
        self.busy = True
        try:
            data = json.dumps(request).encode()
            rights = output.to_bytes(4, sys.byteorder)
            self.channel.file.sendmsg([len(data).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            await self.channel.write(data)
            pid = int.from_bytes(await self.connection.take(4, max(0.0, deadline - time.monotonic())), "big")
            self.proven = self.proven or pid > 0
            return pid
        except TimeoutError:
            self.close()  # it would fork later, and nobody would know
            raise
        except (OSError, EOFError):
            self.close()
            return 0
        finally:
            self.busy = False
            self.loop.fire(self.changed)


class Zygotes:
    """The zygotes that were used last, one for each list of modules and set of variables."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.all: dict[object, Zygote] = {}  # the one that was used last comes last

    async def fork(
        self, changed: Waiters, request: dict[str, Any], preload: list[str], output: int, timeout: float
    ) -> Child | None:
        """Return a forked kernel, None if it must be executed. Raises OSError, TimeoutError.

        `request` has the kernel's connection `file`, its `cwd` and all of its variables, `env`.
        """
        children = self.runtime.children
        children.subreaper = children.subreaper or become_subreaper()
        if not children.subreaper:
            return None
        env = request["env"]
        own = {name: value for name, value in env.items() if name.startswith(PER_KERNEL)}
        children.claims += 1
        try:
            request = {**request, "env": own}
            while True:
                zygote = self.zygote(env, preload)
                pid = await zygote.fork(request, output, timeout)
                if pid or not (zygote.proven and zygote.dead):  # else it has ended since, which was not known yet
                    break
            return children.claim(changed, pid) if pid else None
        finally:
            children.claims -= 1
            if not children.claims:
                children.strays.clear()

    def zygote(self, env: dict[str, str], preload: list[str]) -> Zygote:
        """Return the zygote for these. Any variable may be read by an import, so other variables mean another one."""
        shared = {name: value for name, value in env.items() if not name.startswith(PER_KERNEL)}
        key = tuple(preload), tuple(sorted(shared.items()))
        zygote = self.all.pop(key, None)
        if zygote is None or zygote.dead:
            zygote = Zygote(self.runtime, {**shared, "JPY_PARENT_PID": env["JPY_PARENT_PID"]}, preload)
        self.all[key] = zygote
        for old in [key for key, other in self.all.items() if other.dead or not other.busy][:-MAX_ZYGOTES]:
            self.all.pop(old).close()
        return zygote


def become_subreaper() -> bool:
    """Make orphans below us our children, as forked kernels are. Return whether it worked."""
    try:
        import ctypes  # noqa: PLC0415

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError) as error:
        log(f"kernels are executed, not forked: {error}")
        return False
