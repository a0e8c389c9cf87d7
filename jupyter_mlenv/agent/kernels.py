"""Kernels: forked from a zygote or executed, and alive as long as somebody holds them."""

from __future__ import annotations

import os
import signal
import sys
import time

from . import kernelspecs, overlay
from .channel import Channel, connect
from .http import STREAM, Connection, Refused, dumps, signal_number
from .kernel import Kernel
from .kernel_request import KernelRequest
from .loop import join, log, until, wait
from .process import DEVNULL, STDOUT, STOP_GRACE_SECONDS, not_started
from .zygotes import Zygotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .http import Request, Routes
    from .process import Child
    from .runtime import Runtime

DEAD_KERNELS_KEPT = 100  # exited kernels that can still be asked about
IPYKERNEL = ("-m", "ipykernel_launcher")
LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel_process", "launch.py")


class Kernels:
    """The verbs below `/v1/kernels`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.loop = runtime, runtime.loop
        self.all: dict[str, Kernel] = {}
        self.zygotes = Zygotes(runtime)
        self.routes: Routes = {
            "GET": self.serve_list,
            "PUT *": self.serve_put,
            "DELETE *": self.serve_delete,
            "POST */signal": self.serve_signal,
            "PUT */note": self.serve_note,
            "GET */hold": self.serve_hold,
        }

    async def serve_list(self, connection: Connection, request: Request, id: str) -> dict[str, Any]:
        return {"kernels": [kernel.about() for kernel in self.all.values()]}

    async def serve_put(self, connection: Connection, request: Request, id: str) -> dict[str, Any]:
        asked = KernelRequest(request.json(), self.runtime.run_dir)
        self.runtime.ports.update(address for address in asked.addresses if isinstance(address, int))
        return await self.put(id, asked)

    async def serve_delete(self, connection: Connection, request: Request, id: str) -> dict[str, Any]:
        return await self.delete(id)

    async def serve_signal(self, connection: Connection, request: Request, id: str) -> dict[str, Any]:
        kernel, number = self.get(id), signal_number(request.json().get("signal"))
        if kernel.child is None or kernel.child.ended():
            raise Refused(409, "not_running", f"The kernel {id} does not run.")
        kernel.child.signal(number)
        return {}

    async def serve_note(self, connection: Connection, request: Request, id: str) -> dict[str, Any]:
        self.get(id).request.note = request.json()
        return {}

    async def serve_hold(self, connection: Connection, request: Request, id: str) -> None:
        await self.hold(connection.channel, self.get(id))

    def get(self, id: str) -> Kernel:
        if id not in self.all:
            raise Refused(404, "not_found", f"There is no kernel {id}.")
        return self.all[id]

    async def put(self, id: str, request: KernelRequest) -> dict[str, Any]:
        """Start it and wait until its sockets are bound. Raises Refused with the log."""
        stopping = Refused(503, "stopping", "The environment is being stopped.")
        if self.runtime.ending:
            raise stopping
        while id in self.all and not self.all[id].exited():
            if not self.all[id].stopping:
                raise Refused(409, "kernel_exists", f"The kernel {id} runs already.")
            await wait(self.all[id].changed)
        self.all.pop(id, None)
        if request.spec:
            self.look_up(request)
        kernel = self.all[id] = Kernel(id, request, self.runtime.run_dir)
        dead = [old.id for old in self.all.values() if old.exited()]
        for name in dead[:-DEAD_KERNELS_KEPT]:
            del self.all[name]
        self.loop.spawn(self.run(kernel))
        await until(kernel.changed, lambda: kernel.state != "starting")
        if kernel.state == "ready" and kernel.child:
            started = {"id": id, "pid": kernel.child.pid, "forked": kernel.forked}
            return dict(started, interrupt_mode=request.interrupt_mode)
        if self.runtime.ending:
            raise stopping
        tail = kernel.tail()
        if kernel.timed_out:
            raise Refused(
                504, "kernel_timeout", f"The kernel did not open its sockets in {request.timeout:g} s.", log=tail
            )
        text = f"The kernel ended with exit code {kernel.exit_code} before its sockets were open."
        raise Refused(502, "kernel_exited", text, log=tail, **kernel.end())

    def look_up(self, request: KernelRequest) -> None:
        """Take what the image's own kernelspec says. Raises Refused."""
        python = self.runtime.python()
        prefixes = [os.path.dirname(os.path.dirname(path)) for path in (python.path, sys.executable)]
        try:
            spec = kernelspecs.find(
                request.spec, kernelspecs.folders({**os.environ, **request.env}, [*prefixes, sys.prefix])
            )
        except LookupError as error:
            text = f"There is no kernelspec {request.spec} in the environment; there are: {error}."
            raise Refused(422, "no_kernelspec", text) from None
        except ValueError as error:
            raise Refused(422, "no_kernelspec", str(error)) from None
        request.argv, request.env = spec.command(python.path), spec.environ(request.env)
        request.interrupt_mode = spec.interrupt_mode

    async def run(self, kernel: Kernel) -> None:
        """Follow a kernel from start to exit."""
        begun = time.monotonic()
        kernel.memory_limit = self.runtime.memory().limit()
        self.runtime.memory().seen()
        read, written = os.pipe2(os.O_CLOEXEC)
        output = Channel(self.loop, read)
        reader = self.loop.spawn(kernel.read(output))
        try:
            kernel.write_files()
            kernel.child = await self.launch(kernel, written)
        except TimeoutError:
            kernel.timed_out = True
        except (OSError, ValueError) as error:
            kernel.append(not_started(error).encode("utf-8", "replace"))
        finally:
            os.close(written)
        if kernel.child:
            how = "forked" if kernel.forked else "executed"
            log(f"[{kernel.key}] pid {kernel.child.pid}, {how}")
            await self.live(kernel, kernel.child, kernel.request.timeout - (time.monotonic() - begun))
            killed = kernel.child.exit_code == -signal.SIGKILL and not kernel.stopping
            kernel.oom = self.runtime.memory().killed() if killed else False
        output.drain()
        await join(reader)
        output.close()
        kernel.remove_files()
        kernel.state = "exited"
        log(f"[{kernel.key}] exited with {kernel.exit_code}{', out of memory' if kernel.oom else ''}")
        self.changed(kernel)
        if kernel.request.alone:
            await self.leave(kernel)

    async def leave(self, kernel: Kernel) -> None:
        """End the environment, which is for this kernel alone, unless it is started again by somebody who holds it."""
        if not kernel.forsaken and not await wait([], kernel.request.grace):
            kernel.forsaken = not any(other.holders or not other.exited() for other in self.all.values())
        if kernel.forsaken and not self.runtime.ending:
            log("nobody wants the one kernel any more: the environment stops")
            self.loop.spawn(self.runtime.shut_down())

    async def live(self, kernel: Kernel, child: Child, timeout: float) -> None:
        prober = self.loop.spawn(self.probe(kernel))
        settled = await until(
            kernel.changed, lambda: kernel.state == "ready" or child.ended() or kernel.stopping, max(0.0, timeout)
        )
        self.loop.cancel(prober)
        if not settled:
            kernel.timed_out = kernel.stopping = True
        elif kernel.state == "ready":
            self.loop.spawn(self.lease(kernel, child))
        if kernel.stopping:
            await child.stop(signal.SIGTERM, 1.0)
        await until(kernel.changed, child.ended)

    async def launch(self, kernel: Kernel, output: int) -> Child | None:
        """Raises OSError, ValueError, TimeoutError."""
        await self.runtime.activated()
        request = kernel.request
        # As the parent's death is seen by a kernel that a Jupyter server starts itself.
        python = self.runtime.python()
        env = {**python.environ({**os.environ, **request.env}), "JPY_PARENT_PID": str(os.getpid())}
        if request.fork:
            forking = {"file": kernel.file, "cwd": request.cwd, "env": env}
            child = await self.zygotes.fork(kernel.changed, forking, request.preload, output, request.timeout)
            if child:
                kernel.forked = True
                return child
        argv = with_waiting(request.argv or [python.path, *IPYKERNEL, "-f", "{connection_file}"])
        argv = [word.replace("{connection_file}", kernel.file) for word in argv]
        if argv[0] != python.path:
            env = overlay.of(argv[0], env)
        options: dict[str, Any] = {"env": env, "cwd": request.cwd, "stdin": DEVNULL}
        return self.runtime.children.start(kernel.changed, argv, stdout=output, stderr=STDOUT, **options)

    async def probe(self, kernel: Kernel) -> None:
        """Until all sockets take connections: every 2 ms at first, later every twentieth of the time it has taken."""
        begun = time.monotonic()
        missing = list(kernel.request.addresses)
        while missing:
            try:
                (await connect(self.loop, missing[0], 5.0)).close()
                del missing[0]
            except OSError:
                await wait([], min(max((time.monotonic() - begun) / 20, 0.002), 0.1))
        kernel.state = "ready"
        self.changed(kernel)

    async def lease(self, kernel: Kernel, child: Child) -> None:
        """Ends the kernel when nobody has held it for its time of grace."""
        while not child.ended():
            if kernel.holders:
                await wait(kernel.changed)
            elif not await until(kernel.changed, lambda: kernel.holders or child.ended(), kernel.request.grace):
                log(f"[{kernel.key}] ended: nobody has held it for {kernel.request.grace:g} s")
                kernel.stopping = kernel.forsaken = True
                await child.stop(signal.SIGTERM, STOP_GRACE_SECONDS)

    async def hold(self, client: Channel, kernel: Kernel) -> None:
        kernel.holders.append(client)
        self.changed(kernel)
        try:
            await client.write(STREAM + b'{"event": "held"}\n')
            await until(client.hangup, lambda: client.gone or kernel.exited())
            if not client.gone:
                end = dict(kernel.end(), event="kernel_exited", stopping=self.runtime.ending)
                await client.write(dumps(end) + b"\n")
        finally:
            kernel.holders.remove(client)
            self.changed(kernel)

    def changed(self, kernel: Kernel) -> None:
        self.loop.fire(kernel.changed)
        for client in kernel.holders:
            self.loop.fire(client.hangup)

    async def delete(self, id: str) -> dict[str, Any]:
        kernel = self.get(id)
        if not kernel.exited():
            kernel.stopping = True
            self.changed(kernel)
            if kernel.child:  # else it is stopped as soon as it has been forked
                await kernel.child.stop(signal.SIGTERM, STOP_GRACE_SECONDS)
                await until(kernel.changed, kernel.exited, STOP_GRACE_SECONDS)
        if kernel.exited() and self.all.get(id) is kernel:
            del self.all[id]
        return kernel.about()


def with_waiting(argv: list[str]) -> list[str]:
    """Return an ipykernel's argv so that its outputs wait for slow clients; any other one as it is."""
    for at in range(1, len(argv) - 1):
        if tuple(argv[at : at + 2]) == IPYKERNEL:
            return [*argv[:at], LAUNCHER, *argv[at + 2 :]]
    return argv
