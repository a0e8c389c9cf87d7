"""The one program of ours inside a container: services, shells, tunnels and kernels.

Speaks HTTP/1.1 with a bearer token; the protocol is a section of `docs/architecture.md`. For Python >= 3.8, only the
standard library, run by the image's own interpreter from `start.py`, which lies beside the package.

The source is compiled at each start, since an environment cannot write beside it. So the parts that being ready does
not need are imported by the requests that need them.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from _operator import _compare_digest  # as `hmac.compare_digest`, whose import costs 3 ms

from .channel import Channel
from .files import identity, read_variables, remove, sweep
from .http import Connection, Refused, dumps, find, want
from .loop import Loop, wait
from .runtime import Runtime

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .http import Request, Routes

PROTOCOL = "1"
WARM_UP_SECONDS = 0.1  # from listening to what is not needed for being ready
KEEPALIVE_PROBES = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # a client that vanished goes in 35 s


class Agent:
    """The verbs, by area: `/v1/<area>/…`."""

    def __init__(self, runtime: Runtime, token: bytes) -> None:
        self.runtime, self.loop, self.token = runtime, runtime.loop, token
        self.begun = time.monotonic()
        self.areas: dict[str, Routes] = {
            "health": {"GET": self.health},
            "stat": {"POST": self.stat},
            "exec": {"POST": self.exec},
        }

    async def listen(self, listener: socket.socket) -> None:
        channel = Channel(self.loop, listener.fileno(), listener)
        while True:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                await wait(channel.readable)
            except OSError:  # out of file descriptors, or the client left while it queued
                await wait([], 0.05)
            else:
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for name, seconds in KEEPALIVE_PROBES.items():
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
                self.loop.spawn(self.serve(Connection(Channel(self.loop, sock.fileno(), sock))))

    def authorized(self, header: str) -> bool:
        return _compare_digest(header.encode("latin-1"), b"Bearer " + self.token)

    async def serve(self, connection: Connection) -> None:
        try:
            more = True
            while more:
                request = await connection.request(self.authorized)
                try:
                    more = await self.route(connection, request)
                except Refused as refused:
                    await connection.answer(refused.status, dumps({"error": refused.body}))
        except Refused as refused:
            await connection.refuse(refused)
        finally:
            connection.channel.close()

    async def route(self, connection: Connection, request: Request) -> bool:
        """Answer one request; return whether the connection speaks HTTP afterwards."""
        if request.method == "CONNECT":
            from .tunnel import tunnel  # noqa: PLC0415

            await tunnel(self.runtime, connection, request)
            return False
        words = request.target.partition("?")[0].split("/")
        routes = self.area(words[2]) if words[:2] == ["", "v1"] and len(words) > 2 else {}
        handler = find(routes, request.method, words[3:])
        key = words[3] if len(words) > 3 else ""
        if "%" in key:
            from urllib.parse import unquote  # noqa: PLC0415  4 ms

            key = unquote(key)
        answer = await handler(connection, request, key)
        if answer is None:
            return False
        await connection.answer(200, answer if isinstance(answer, bytes) else dumps(answer))
        return True

    def area(self, name: str) -> Routes:
        """Return the verbs of an area, loaded when they are first asked for; none of an unknown one."""
        if name not in self.areas:
            if name == "services":
                from .services import Services  # noqa: PLC0415

                self.areas[name] = Services(self.runtime).routes
            elif name == "kernels":
                from .kernels import Kernels  # noqa: PLC0415

                self.areas[name] = Kernels(self.runtime).routes
            elif name == "ports":
                self.areas[name] = {"GET": self.ports}
            else:
                return {}
        return self.areas[name]

    async def health(self, connection: Connection, request: Request, key: str) -> bytes:
        text = '{"version": "%s", "pid": %d, "python": "%d.%d.%d", "uptime": %.3f}'  # being ready needs no json: 8 ms
        uptime = time.monotonic() - self.begun
        return (text % (PROTOCOL, os.getpid(), *sys.version_info[:3], uptime)).encode()

    async def stat(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        return {"stats": [identity(path) for path in want(request.json(), "paths", "argv")]}

    async def ports(self, connection: Connection, request: Request, key: str) -> dict[str, Any]:
        from .listeners import ports  # noqa: PLC0415

        return {"ports": ports(self.runtime.ports)}

    async def exec(self, connection: Connection, request: Request, key: str) -> None:
        from . import exec_session  # noqa: PLC0415

        await exec_session.run(self.runtime, connection, request)

    async def warm_up(self) -> None:
        """Begin with what the first kernel waits for, once whoever waits for us has been answered."""
        await wait([], WARM_UP_SECONDS)
        await self.runtime.activated()

    async def watch_signals(self, channel: Channel) -> None:
        """Reap children that ended, and end when the engine says so."""
        chunk = memoryview(bytearray(256))
        while True:
            numbers = set(chunk[: await channel.read_into(chunk)])
            self.runtime.reap()
            if numbers & {signal.SIGTERM, signal.SIGINT}:
                self.loop.spawn(self.runtime.shut_down())


def listening(run_dir: str, port: int) -> socket.socket:
    """Return the socket that clients connect to. Raises OSError."""
    if port:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))  # noqa: S104  reached through a published port, by token only
    else:
        path = os.path.join(run_dir, "agent.sock")
        remove(path)
        listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
    listener.listen(512)
    return listener


def fail(text: str) -> NoReturn:
    sys.exit("mlenv agent: " + text)


def main(argv: list[str]) -> None:
    """Run the agent until a signal ends it."""
    options = dict(zip(argv[::2], argv[1::2]))  # noqa: B905  `strict` came with Python 3.10
    if len(argv) % 2 or not {"--run-dir", "--token"} <= set(options) <= {"--run-dir", "--token", "--port", "--umask"}:
        fail("usage: start.py --run-dir DIR --token FILE [--port PORT] [--umask MASK]")
    run_dir = os.path.abspath(options["--run-dir"])
    try:
        with open(options["--token"], "rb") as file:
            token = file.read().strip()
        if not token:
            fail(f"the token in {options['--token']} is empty")
        os.umask(int(options.get("--umask", "022"), 8))
        read_variables()
        sweep(run_dir)
        listener = listening(run_dir, int(options.get("--port", 0)))
    except (OSError, ValueError) as error:
        fail(f"cannot start: {error}")
    loop = Loop()
    agent = Agent(Runtime(loop, run_dir), token)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)  # the number arrives through the pipe
    loop.spawn(agent.watch_signals(Channel(loop, reader)))
    loop.spawn(agent.listen(listener))
    loop.spawn(agent.warm_up())
    loop.run()
    sweep(run_dir)
    if "--port" not in options:
        remove(os.path.join(run_dir, "agent.sock"))
    os._exit(0)  # without taking leave of every client, which would run the rest of each half-done request
