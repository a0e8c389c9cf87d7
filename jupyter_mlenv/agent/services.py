"""Services: the processes of endpoints, by key."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from urllib.parse import parse_qs, unquote

from .channel import Channel, connect, linger
from .files import remove, service_variables
from .http import MAX_HEAD_BYTES, Connection, Refused, want
from .logged_process import LoggedProcess
from .loop import join, log, until, wait
from .process import DEVNULL, PIPE, STDOUT, STOP_GRACE_SECONDS, not_started

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .http import Request, Routes
    from .process import Child
    from .runtime import Runtime

DEAD_SERVICES_KEPT = 100  # exited services whose log is kept


class Service(LoggedProcess):
    """An endpoint's process, which listens on a socket or a port."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.oom = False
        self.path: str | None = None
        self.port: int | None = None

    def to_json(self) -> dict[str, Any]:
        pid, code = (self.child.pid, self.child.exit_code) if self.child else (None, 127)
        names = {"key": self.key, "pid": pid, "state": self.state}
        return dict(names, socket=self.path, port=self.port, exit_code=code)


class Services:
    """The verbs below `/v1/services`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.loop = runtime, runtime.loop
        self.all: dict[str, Service] = {}
        self.routes: Routes = {
            "GET": self.serve_list,
            "PUT *": self.serve_put,
            "DELETE *": self.serve_delete,
            "GET */log": self.serve_log,
        }

    async def serve_list(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        return {"services": [service.to_json() for service in self.all.values()]}

    async def serve_put(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        return await self.put(key, request.json())

    async def serve_delete(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        return await self.delete(key)

    async def serve_log(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        tail = parse_qs(request.target.partition("?")[2]).get("tail", [""])[-1]
        lines = list(self.get(key).lines)
        return {"lines": lines[max(0, len(lines) - int(tail)) :] if tail.isdigit() else lines}

    async def put(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start unless it runs, wait until it is ready. Raises Refused with the log."""
        await self.runtime.activated()
        service = self.all.get(key)
        while service is not None and service.stopping and not service.exited():
            await wait(service.changed)
            service = self.all.get(key)
        started = service is None or service.exited()
        if service is None or started:
            service = self.start(key, body)
        while service.state == "starting":
            await wait(service.changed)
        about = service.to_json()
        if service.state == "ready":
            return dict(about, started=started)
        tail = service.tail()
        if service.timed_out:
            raise Refused(504, "service_timeout", f"{key} did not answer in time.", log=tail)
        text = "{} ended with exit code {}.".format(key, about["exit_code"])
        limit = self.runtime.memory().limit() if service.oom else None
        end = {"exit_code": about["exit_code"], "oom": service.oom, "memory_limit": limit}
        raise Refused(502, "service_exited", text, log=tail, **end)

    def start(self, key: str, body: dict[str, Any]) -> Service:
        command, env = want(body, "command", "argv"), want(body, "env", "map", {})
        base, ready = want(body, "base_url", str, "/"), want(body, "ready", str, "")
        cwd, timeout = want(body, "cwd", str, ""), want(body, "timeout", float, 60.0)
        url = base.rstrip("/") + "/" + ready.lstrip("/")
        if not url.isascii() or not url.isprintable() or " " in url or url[0] != "/":
            raise Refused(400, "bad_request", "`base_url` and `ready` must be percent-encoded paths.")
        service = Service(key)
        fill = self.filler(service, want(body, "variables", "map", {}), base)
        command = [fill(word) for word in command]
        env = {**service_variables(key.rpartition("-")[0]), **env}
        environ = self.runtime.python().environ(dict(os.environ, **{name: fill(str(v)) for name, v in env.items()}))
        if service.path is None and service.port is None:
            raise Refused(400, "bad_request", "A service listens on {socket} or on {port}; its command names neither.")
        self.all.pop(key, None)
        self.all[key] = service
        if service.port is not None:
            self.runtime.ports.add(service.port)
        dead = [name for name, old in self.all.items() if old.exited()]
        for name in dead[:-DEAD_SERVICES_KEPT]:
            del self.all[name]
        options: dict[str, Any] = {
            "env": environ,
            "cwd": fill(cwd) or None,
            "stdin": DEVNULL,
            "stdout": PIPE,
            "stderr": STDOUT,
        }
        try:
            service.child = self.runtime.children.start(service.changed, command, **options)
        except (OSError, ValueError) as error:
            service.append(not_started(error).encode("utf-8", "replace"))
            service.state = "exited"
        else:
            log("[{}] pid {}: {}".format(key, service.child.pid, " ".join(command)))
            self.loop.spawn(self.run(service, service.child, url, timeout))
        return service

    def filler(self, service: Service, variables: dict[str, Any], base: str) -> Callable[[str], str]:
        """Return a function that fills placeholders in; a socket or a port is made when it is first named."""
        known: dict[str, str] = {
            "python": self.runtime.python().path,
            "base_url": base,
            "base_url_noslash": base.rstrip("/"),
        }
        # As PATH_INFO holds it: bytes of UTF-8, each as a character of Latin-1 (PEP 3333).
        known["path_prefix"] = unquote(base.rstrip("/"), "latin-1")
        known.update({name: str(value) for name, value in variables.items()})
        if "port" in known:  # a service with a port of its own choice
            if not known["port"].isdigit():
                raise Refused(400, "bad_request", "The variable `port` is not a number.")
            service.port = int(known["port"])

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name == "socket" and name not in known:
                service.path = known[name] = self.socket_path(service.key)
            if name == "port" and name not in known:
                service.port = self.free_port()
                known[name] = str(service.port)
            return known.get(name, match.group(0))

        return lambda text: re.sub(r"\{([A-Za-z_]\w*)\}", value, text)

    def socket_path(self, key: str) -> str:
        import hashlib  # noqa: PLC0415

        digest = hashlib.sha1(key.encode("utf-8", "replace")).hexdigest()  # noqa: S324  a name, not a secret
        path = os.path.join(self.runtime.run_dir, f"s-{digest[:8]}.sock")
        remove(path)
        return path

    def free_port(self) -> int:
        taken = {service.port for service in self.all.values() if not service.exited()}
        while True:
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                port = int(sock.getsockname()[1])
            if port not in taken:
                return port

    async def run(self, service: Service, child: Child, url: str, timeout: float) -> None:
        """Follow a service from start to exit."""
        loop, pipe = self.loop, child.popen.stdout
        assert pipe is not None
        self.runtime.memory().seen()
        output = Channel(loop, pipe.fileno(), pipe)
        reader = loop.spawn(service.read(output))
        prober = loop.spawn(self.probe(service, url))
        settled = await until(service.changed, lambda: service.state == "ready" or child.ended(), timeout)
        loop.cancel(prober)
        if not settled:
            service.timed_out = service.stopping = True
            await child.stop(signal.SIGTERM, 1.0)
        await until(service.changed, child.ended)
        output.drain()
        await join(reader)
        output.close()
        if service.path:
            remove(service.path)
        killed = child.exit_code == -signal.SIGKILL and not service.stopping
        service.oom = killed and self.runtime.memory().killed()
        service.state = "exited"
        log(f"[{service.key}] exited with {child.exit_code}")
        loop.fire(service.changed)

    async def probe(self, service: Service, url: str) -> None:
        """Ask until it answers below 500: every 2 ms at first, later every twentieth of the time it has taken."""
        begun = time.monotonic()
        while not await self.answers(service, url):
            await wait([], min(max((time.monotonic() - begun) / 20, 0.002), 0.1))
        service.state = "ready"
        self.loop.fire(service.changed)

    async def answers(self, service: Service, url: str) -> bool:
        try:
            channel = await connect(self.loop, service.path or service.port or 0, 5.0)
        except OSError:
            return False
        try:
            if service.path:
                os.chmod(service.path, 0o600)
            await channel.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            connection = Connection(channel)
            while b"\n" not in connection.buffer and len(connection.buffer) < MAX_HEAD_BYTES:
                if not await connection.fill(10.0):
                    return False
            words = bytes(connection.buffer[:64]).split()
            return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and int(words[1]) < 500
        except OSError:
            return False
        finally:
            self.loop.spawn(linger(channel))

    def get(self, key: str) -> Service:
        if key not in self.all:
            raise Refused(404, "not_found", f"There is no service {key}.")
        return self.all[key]

    async def delete(self, key: str) -> dict[str, Any]:
        service = self.get(key)
        if service.child and not service.exited():
            service.stopping = True
            await service.child.stop(signal.SIGTERM, STOP_GRACE_SECONDS)
            await until(service.changed, service.exited, 1.0)
        return service.to_json()
