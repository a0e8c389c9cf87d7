"""The agent's kernels: forked from a zygote or executed, and alive as long as somebody holds them.

Loaded by `agent.py`, beside which it lies, when the first kernel is asked for. Like it: Python >= 3.8, standard library
only, no threads.

    Wish       what a PUT asks for
    Kernel     a kernel's process and its sockets
    Zygote     a Python with everything imported, which forks kernels
    Kernels    the verbs below /v1/kernels
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from urllib.parse import unquote

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from . import agent as base
    from .agent import Channel, Child, Connection, Refused, Request, Service, log, until, wait, want
else:  # in a container, where nothing of ours is a package
    import agent as base
    from agent import Channel, Child, Connection, Refused, Service, log, until, wait, want
if TYPE_CHECKING:
    from typing import Any

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
ZYGOTES = 4  # kept at once; each costs about 35 MB and what is preloaded
DEAD_KERNELS = 100  # exited kernels that can still be asked about
PER_KERNEL = "JPY_"  # variables that may differ between the kernels of one zygote
IPYKERNEL = ("-m", "ipykernel_launcher")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Wish:
    """A PUT's body, checked. Raises Refused."""

    def __init__(self, body: dict[str, Any], run_dir: str) -> None:
        self.connection = want(body, "connection", dict)
        self.argv: list[str] | None = None if body.get("argv") is None else want(body, "argv", "argv")
        self.env = {name: str(value) for name, value in want(body, "env", "map", {}).items()}
        self.cwd = want(body, "cwd", str, "") or os.getcwd()
        self.preload = [] if not body.get("preload") else want(body, "preload", "argv")
        self.spec: str = want(body, "spec", str, "")
        self.interrupt_mode = ""  # what the spec says
        self.fork = want(body, "fork", bool, True) and self.argv is None and not self.spec
        self.note = want(body, "note", dict, {})
        self.alone = want(body, "alone", bool, False)
        self.timeout, self.grace = want(body, "timeout", float, 60.0), want(body, "grace", float, 60.0)
        if not os.path.isdir(self.cwd):
            raise Refused(422, "command_failed", f"There is no folder {self.cwd} in the environment.")
        self.addresses = addresses(self.connection, run_dir)


def addresses(connection: dict[str, Any], run_dir: str) -> list[str | int]:
    """Paths or ports of a kernel's five sockets. Raises Refused."""
    transport, ip = want(connection, "transport", str, "tcp"), want(connection, "ip", str)
    ports = [want(connection, f"{name}_port", int) for name in CHANNELS]
    if not all(0 < port < 65536 for port in ports) or len(set(ports)) < len(ports):
        raise Refused(400, "bad_request", "The connection needs five ports that differ.")
    if transport == "tcp" and ip in {"127.0.0.1", "0.0.0.0", "*"}:  # noqa: S104  it is the kernel's choice
        return list(ports)
    # The agent removes these files, so they lie where it alone makes some.
    if transport == "ipc" and os.path.dirname(ip) == run_dir and os.path.basename(ip).startswith("k-"):
        return [f"{ip}-{port}" for port in ports]
    text = "A kernel listens on 127.0.0.1 by tcp or below {}/k-… by ipc, not on {} by {}."
    raise Refused(400, "bad_request", text.format(run_dir, ip, transport))


class Kernel(Service):
    """`state` is `starting`, `ready` or `exited`. `holders` are the clients that want it to live."""

    def __init__(self, id: str, wish: Wish, run_dir: str) -> None:
        super().__init__(f"kernel {id[:8]}")
        self.id, self.wish = id, wish
        digest = hashlib.sha1(id.encode("utf-8", "replace")).hexdigest()  # noqa: S324  a name, not a secret
        self.file = os.path.join(run_dir, f"k-{digest[:12]}.json")
        self.holders: list[Channel] = []
        self.forked = self.oom = self.forsaken = False
        self.memory_limit: int | None = None

    @property
    def exit_code(self) -> int | None:
        return self.child.exit_code if self.child else 127 if self.exited() else None

    def about(self) -> dict[str, Any]:
        about = {"id": self.id, "pid": self.child.pid if self.child else None, "state": self.state}
        return dict(about, forked=self.forked, exit_code=self.exit_code, holders=len(self.holders), note=self.wish.note)

    def end(self) -> dict[str, Any]:
        return {"exit_code": self.exit_code, "oom": self.oom, "memory_limit": self.memory_limit}

    def write_files(self) -> None:
        self.remove_files()
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(self.wish.connection, file)

    def remove_files(self) -> None:
        for path in (self.file, *self.wish.addresses):
            if isinstance(path, str):
                base.remove(path)


class Zygote(Service):
    """Forks kernels, each of which becomes a child of the agent. Starts at once; requests queue while it imports."""

    def __init__(self, agent: base.Agent, env: dict[str, str], preload: list[str]) -> None:
        super().__init__("zygote")
        self.loop, self.busy, self.dead = agent.loop, False, False
        ours, theirs = socket.socketpair()
        self.channel = Channel(agent.loop, ours.fileno(), ours)
        self.connection = Connection(self.channel)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zygote.py")
        command = [agent.python().path, program, str(theirs.fileno()), *preload]
        options: dict[str, Any] = {"env": env, "cwd": "/", "pass_fds": (theirs.fileno(),)}
        try:
            options.update(stdin=base.DEVNULL, stdout=base.PIPE, stderr=base.STDOUT)
            self.child = agent.child(self.changed, command, **options)
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        agent.loop.spawn(self.watch(self.child))

    async def watch(self, child: Child) -> None:
        assert child.popen.stdout is not None
        output = Channel(self.loop, child.popen.stdout.fileno(), child.popen.stdout)
        reader = self.loop.spawn(base.collect(self, output))
        await until(self.changed, child.ended)
        output.drain()
        await base.join(reader)
        output.close()
        log(f"[zygote] ended with {child.exit_code}")
        self.close()

    def close(self) -> None:
        """No more kernels from it; those that there are go on."""
        self.dead = True
        self.channel.close()
        self.loop.fire(self.changed)

    async def fork(self, request: dict[str, Any], output: int, timeout: float) -> int:
        """The pid of a new kernel that writes to `output`, or 0. Raises TimeoutError."""
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
            return int.from_bytes(await self.connection.take(4, max(0.0, deadline - time.monotonic())), "big")
        except TimeoutError:
            self.close()  # it would fork later, and nobody would know
            raise
        except (OSError, EOFError):
            self.close()
            return 0
        finally:
            self.busy = False
            self.loop.fire(self.changed)


class Kernels:
    def __init__(self, agent: base.Agent) -> None:
        self.agent, self.loop = agent, agent.loop
        self.all: dict[str, Kernel] = {}
        self.zygotes: dict[object, Zygote] = {}  # the one that was used last comes last
        self.memory = agent.load("memory").Memory()

    async def serve(self, connection: Connection, request: Request) -> bool:
        """Answer one request; whether the connection speaks HTTP afterwards."""
        path = request.target.partition("?")[0]
        words = path.split("/")
        id = unquote(words[3]) if len(words) > 3 else ""
        verb = request.method + " " + "/".join(words[4:])
        if len(words) > 5 or words[2] != "kernels":
            raise Refused(404, "not_found", f"There is no {path}.")
        answer: dict[str, Any] = {}
        if len(words) == 3 and verb == "GET ":
            answer = {"kernels": [kernel.about() for kernel in self.all.values()]}
        elif id and verb == "PUT ":
            answer = await self.put(id, Wish(request.json(), self.agent.run_dir))
        elif id and verb == "DELETE ":
            answer = await self.delete(id)
        elif id and verb == "POST signal":
            kernel, number = self.get(id), base.signal_number(request.json().get("signal"))
            if kernel.child is None or kernel.child.ended():
                raise Refused(409, "not_running", f"The kernel {id} does not run.")
            kernel.child.signal(number)
        elif id and verb == "PUT note":
            self.get(id).wish.note = request.json()
        elif id and verb == "GET hold":
            await self.hold(connection.channel, self.get(id))
            return False
        else:
            raise Refused(405, "bad_method", f"{request.method} is not possible there.")
        await connection.answer(200, base.dumps(answer))
        return True

    def get(self, id: str) -> Kernel:
        if id not in self.all:
            raise Refused(404, "not_found", f"There is no kernel {id}.")
        return self.all[id]

    async def put(self, id: str, wish: Wish) -> dict[str, Any]:
        """Start it and wait until its sockets are bound. Raises Refused with the log."""
        stopping = Refused(503, "stopping", "The environment is being stopped.")
        if self.agent.ending:
            raise stopping
        while id in self.all and not self.all[id].exited():
            if not self.all[id].stopping:
                raise Refused(409, "kernel_exists", f"The kernel {id} runs already.")
            await wait(self.all[id].changed)
        self.all.pop(id, None)
        if wish.spec:
            self.look_up(wish)
        kernel = self.all[id] = Kernel(id, wish, self.agent.run_dir)
        dead = [old.id for old in self.all.values() if old.exited()]
        for name in dead[:-DEAD_KERNELS]:
            del self.all[name]
        self.loop.spawn(self.run(kernel))
        await until(kernel.changed, lambda: kernel.state != "starting")
        if kernel.state == "ready" and kernel.child:
            started = {"id": id, "pid": kernel.child.pid, "forked": kernel.forked}
            return dict(started, interrupt_mode=wish.interrupt_mode)
        if self.agent.ending:
            raise stopping
        tail = list(kernel.lines)[-base.TAIL :]
        if kernel.timed_out:
            raise Refused(
                504, "kernel_timeout", f"The kernel did not open its sockets in {wish.timeout:g} s.", log=tail
            )
        text = f"The kernel ended with exit code {kernel.exit_code} before its sockets were open."
        raise Refused(502, "kernel_exited", text, log=tail, **kernel.end())

    def look_up(self, wish: Wish) -> None:
        """Take what the image's own kernelspec says. Raises Refused."""
        kernelspecs, python = self.agent.load("kernelspecs"), self.agent.python()
        prefixes = [os.path.dirname(os.path.dirname(path)) for path in (python.path, sys.executable)]
        try:
            spec = kernelspecs.find(wish.spec, kernelspecs.folders({**os.environ, **wish.env}, [*prefixes, sys.prefix]))
        except LookupError as error:
            text = f"There is no kernelspec {wish.spec} in the environment; there are: {error}."
            raise Refused(422, "no_kernelspec", text) from None
        except ValueError as error:
            raise Refused(422, "no_kernelspec", str(error)) from None
        wish.argv, wish.env = spec.command(python.path), spec.environ(wish.env)
        wish.interrupt_mode = spec.interrupt_mode

    async def run(self, kernel: Kernel) -> None:
        """From start to exit."""
        begun = time.monotonic()
        kernel.memory_limit = self.memory.limit()
        self.memory.seen()
        read, written = os.pipe2(os.O_CLOEXEC)
        output = Channel(self.loop, read)
        reader = self.loop.spawn(base.collect(kernel, output))
        try:
            kernel.write_files()
            kernel.child = await self.launch(kernel, written)
        except TimeoutError:
            kernel.timed_out = True
        except (OSError, ValueError) as error:
            kernel.note(str(error).encode("utf-8", "replace"))
        finally:
            os.close(written)
        if kernel.child:
            how = "forked" if kernel.forked else "executed"
            log(f"[{kernel.key}] pid {kernel.child.pid}, {how}")
            await self.live(kernel, kernel.child, kernel.wish.timeout - (time.monotonic() - begun))
            killed = kernel.child.exit_code == -signal.SIGKILL and not kernel.stopping
            kernel.oom = self.memory.killed() if killed else False
        output.drain()
        await base.join(reader)
        output.close()
        kernel.remove_files()
        kernel.state = "exited"
        log(f"[{kernel.key}] exited with {kernel.exit_code}{', out of memory' if kernel.oom else ''}")
        self.changed(kernel)
        if kernel.wish.alone:
            await self.leave(kernel)

    async def leave(self, kernel: Kernel) -> None:
        """End the environment, which is for this kernel alone, unless it is started again by somebody who holds it."""
        if not kernel.forsaken and not await wait([], kernel.wish.grace):
            kernel.forsaken = not any(other.holders or not other.exited() for other in self.all.values())
        if kernel.forsaken and not self.agent.ending:
            log("nobody wants the one kernel any more: the environment stops")
            self.loop.spawn(self.agent.shut_down())

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
        wish = kernel.wish
        # As the parent's death is seen by a kernel that a Jupyter server starts itself.
        python = self.agent.python()
        env = {**python.environ({**os.environ, **wish.env}), "JPY_PARENT_PID": str(os.getpid())}
        if wish.fork:
            child = await self.fork(kernel, env, output)
            if child:
                kernel.forked = True
                return child
        argv = with_waiting(wish.argv or [python.path, *IPYKERNEL, "-f", "{connection_file}"])
        argv = [word.replace("{connection_file}", kernel.file) for word in argv]
        if argv[0] != python.path:
            env = self.agent.load("overlay").of(argv[0], env)
        options: dict[str, Any] = {"env": env, "cwd": wish.cwd, "stdin": base.DEVNULL}
        return self.agent.child(kernel.changed, argv, stdout=output, stderr=base.STDOUT, **options)

    async def fork(self, kernel: Kernel, env: dict[str, str], output: int) -> Child | None:
        """None if it must be executed. Raises OSError, TimeoutError."""
        if not self.agent.adopts and not become_subreaper():
            return None
        self.agent.adopts = True
        own = {name: value for name, value in env.items() if name.startswith(PER_KERNEL)}
        self.agent.adopting += 1
        try:
            zygote = self.zygote(env, kernel.wish.preload)
            request = {"file": kernel.file, "cwd": kernel.wish.cwd, "env": own}
            pid = await zygote.fork(request, output, kernel.wish.timeout)
            return self.agent.adopt(kernel.changed, pid) if pid else None
        finally:
            self.agent.adopting -= 1
            if not self.agent.adopting:
                self.agent.strays.clear()

    def zygote(self, env: dict[str, str], preload: list[str]) -> Zygote:
        """Any variable may be read while something is imported, so other variables mean another zygote."""
        shared = {name: value for name, value in env.items() if not name.startswith(PER_KERNEL)}
        key = tuple(preload), tuple(sorted(shared.items()))
        zygote = self.zygotes.pop(key, None)
        if zygote is None or zygote.dead:
            zygote = Zygote(self.agent, {**shared, "JPY_PARENT_PID": env["JPY_PARENT_PID"]}, preload)
        self.zygotes[key] = zygote
        for old in [key for key, other in self.zygotes.items() if other.dead or not other.busy][:-ZYGOTES]:
            self.zygotes.pop(old).close()
        return zygote

    async def probe(self, kernel: Kernel) -> None:
        """Until all sockets take connections: every 2 ms at first, later every twentieth of the time it has taken."""
        begun = time.monotonic()
        missing = list(kernel.wish.addresses)
        while missing:
            try:
                (await base.connect(self.loop, missing[0], 5.0)).close()
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
            elif not await until(kernel.changed, lambda: kernel.holders or child.ended(), kernel.wish.grace):
                log(f"[{kernel.key}] ended: nobody has held it for {kernel.wish.grace:g} s")
                kernel.stopping = kernel.forsaken = True
                await child.stop(signal.SIGTERM, base.STOP_GRACE)

    async def hold(self, client: Channel, kernel: Kernel) -> None:
        kernel.holders.append(client)
        self.changed(kernel)
        try:
            await client.write(base.STREAM + b'{"event": "held"}\n')
            await until(client.hangup, lambda: client.gone or kernel.exited())
            if not client.gone:
                end = dict(kernel.end(), event="kernel_exited", stopping=self.agent.ending)
                await client.write(base.dumps(end) + b"\n")
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
                await kernel.child.stop(signal.SIGTERM, base.STOP_GRACE)
                await until(kernel.changed, kernel.exited, base.STOP_GRACE)
        if kernel.exited() and self.all.get(id) is kernel:
            del self.all[id]
        return kernel.about()


def with_waiting(argv: list[str]) -> list[str]:
    """An ipykernel's argv so that its outputs wait for slow clients; any other one as it is."""
    launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
    for at in range(1, len(argv) - 1):
        if tuple(argv[at : at + 2]) == IPYKERNEL:
            return [*argv[:at], launcher, *argv[at + 2 :]]
    return argv


def become_subreaper() -> bool:
    """Whether what is orphaned below us is ours from now on, by which forked kernels become our children."""
    try:
        import ctypes  # noqa: PLC0415

        return bool(ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError) as error:
        log(f"kernels are executed, not forked: {error}")
        return False
