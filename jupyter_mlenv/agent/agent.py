"""The one program of ours inside a container: services, shells, tunnels, kernels, exit notices.

Speaks HTTP/1.1 with a bearer token; the protocol is a section of `docs/architecture.md`. For Python >= 3.8, only the
standard library, started as a script by the image's own interpreter. What concerns kernels lies in `kernels.py` beside
this file, which is loaded when the first kernel is asked for; where packages go, in `overlay.py`.

It is ready some 30 ms after it was started. Importing asyncio alone would add 35 ms (measured on 3.8, 3.11 and 3.13),
so `Loop` below is the small part of it that is needed here, and what only some requests need is imported by them.
There are no threads, so the process may fork at any time.

    Loop, Task          coroutines that wait for signals (plain lists of tasks), with an edge-triggered epoll
    Channel             a non-blocking file descriptor: socket, pipe, terminal
    Child               a process in a group of its own
    Connection          a client: requests, answers, frames
    Services            what runs for endpoints, by key
    Agent               the verbs
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections import deque
from heapq import heappop, heappush
from types import coroutine

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any, NoReturn

    Waiters = list["Task"]
    Wish = tuple[Waiters, "float | None"]

PROTOCOL = "1"
LOG_LINES = 500  # kept per service
TAIL = 40  # log lines in an error
LINE = 8192  # bytes after which an endless line is cut
HEAD = 65536  # bytes of a request's head
BODY = 1 << 20  # bytes of a request's body, or of a frame
CHUNK = 1 << 16  # bytes read at once from a pipe or a client
BUFFER = 1 << 18  # bytes moved at once through a tunnel
BACKLOG = 1000  # events that a subscriber may lag behind
HEAD_TIMEOUT = 10.0  # seconds for the first request of a connection
LINGER = 10.0  # seconds at most that a finished client may still send
KEEP_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # a client that vanished lets go in 35 s
IDLE = 300.0  # seconds a connection is kept between requests
STOP_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
SHUTDOWN_GRACE = 3.0  # the same when the agent ends: the engine's own patience is 10 s
DEAD_SERVICES = 100  # exited services whose log is kept
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
PIPE, STDOUT, DEVNULL = -1, -2, -3  # of `subprocess`, which is imported late


class Cancelled(BaseException):
    """Raised inside a task that was cancelled."""


class Refused(Exception):
    """An error answer: HTTP status, code, message, more fields."""

    def __init__(self, status: int, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = dict(fields, code=code, message=message)


@coroutine
def wait(waiters: Waiters, timeout: float | None = None) -> Generator[Wish, bool, bool]:
    """Sleep until `loop.fire(waiters)`: True; False once `timeout` seconds have passed."""
    return (yield waiters, timeout)


async def until(waiters: Waiters, condition: Callable[[], object], timeout: float | None = None) -> bool:
    """Sleep until `condition()` holds, looking again at each firing; whether it holds at the end."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not condition():
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not await wait(waiters, left):
            return bool(condition())
    return True


class Task:
    __slots__ = ("coro", "done", "ended", "inbox", "queued", "timer", "waiters")

    def __init__(self, coro: Coroutine[Wish, Any, None]) -> None:
        self.coro = coro
        self.done: Waiters = []
        self.ended = self.queued = False
        self.inbox: Any = None
        self.timer: list[Any] | None = None
        self.waiters: Waiters = []


class Loop:
    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.channels: dict[int, Channel] = {}
        self.queue: deque[Task] = deque()
        self.timers: list[list[Any]] = []  # [when, number, task or None]
        self.number = 0
        self.stopped = False

    def spawn(self, coro: Coroutine[Wish, Any, None]) -> Task:
        task = Task(coro)
        self.resume(task, None)
        return task

    def resume(self, task: Task, value: object) -> None:
        if not task.queued and not task.ended:
            task.queued, task.inbox = True, value
            self.queue.append(task)

    def fire(self, waiters: Waiters) -> None:
        for task in waiters:
            self.resume(task, True)
        del waiters[:]

    def cancel(self, task: Task) -> None:
        self.resume(task, Cancelled)
        task.inbox = Cancelled

    def run(self) -> None:
        while not self.stopped:
            for fd, mask in self.epoll.poll(self.patience()):
                channel = self.channels.get(fd)
                if channel is not None:
                    channel.event(mask)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                task = heappop(self.timers)[2]
                if task is not None:
                    self.resume(task, False)
            for _ in range(len(self.queue)):
                self.step(self.queue.popleft())

    def patience(self) -> float:
        if self.queue:
            return 0
        while self.timers and self.timers[0][2] is None:
            heappop(self.timers)
        return max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else -1

    def step(self, task: Task) -> None:
        if task in task.waiters:
            task.waiters.remove(task)
        if task.timer is not None:
            task.timer[2] = None
            task.timer = None
        value, task.inbox, task.queued = task.inbox, None, False
        try:
            if value is Cancelled:
                task.waiters, timeout = task.coro.throw(Cancelled())
            else:
                task.waiters, timeout = task.coro.send(value)
        except (StopIteration, Cancelled, OSError, EOFError):  # the last two: the other end is gone, the task is moot
            self.end(task)
        except Exception:  # noqa: BLE001  a bug in one request must not take the environment down
            import traceback  # noqa: PLC0415

            log(traceback.format_exc())
            self.end(task)
        else:
            task.waiters.append(task)
            if timeout is not None:
                self.number += 1
                task.timer = [time.monotonic() + timeout, self.number, task]
                heappush(self.timers, task.timer)

    def end(self, task: Task) -> None:
        task.ended, task.waiters = True, []
        self.fire(task.done)


class Channel:
    """A file descriptor that is read and written without blocking.

    Registered once, edge-triggered: every operation is tried first and waits only if it would block. `file` keeps the
    object that owns the descriptor and closes it.
    """

    def __init__(self, loop: Loop, fd: int, file: Any = None) -> None:
        self.loop, self.fd, self.file = loop, fd, file
        self.readable: Waiters = []
        self.writable: Waiters = []
        self.hangup: Waiters = []
        self.gone = False
        self.left: int | None = None
        self.streak = 0
        os.set_blocking(fd, False)
        loop.channels[fd] = self
        loop.epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)

    def event(self, mask: int) -> None:
        if mask & ~select.EPOLLOUT:
            self.loop.fire(self.readable)
        if mask & (select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR):
            self.loop.fire(self.writable)
        if mask & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
            self.gone = True
            self.loop.fire(self.hangup)

    async def read_into(self, view: memoryview, timeout: float | None = None) -> int:
        """The number of bytes read, 0 at the end. Raises OSError, TimeoutError."""
        while True:
            self.streak += 1
            if self.streak % 16 == 0:
                await wait([], 0)  # a busy stream lets the others have their turn
            try:
                count = os.readv(self.fd, [view])
            except BlockingIOError:
                if self.left is not None:
                    return 0
            except OSError as error:
                if self.file is None and error.errno == 5:  # EIO: how a terminal says that its last user is gone
                    return 0
                raise
            else:
                if self.left is not None:
                    self.left -= count
                    return count if self.left > 0 else 0
                return count
            if not await wait(self.readable, timeout):
                raise TimeoutError

    async def write(self, data: bytes | memoryview) -> None:
        """All of it. Raises OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                await wait(self.writable)

    def drain(self) -> None:
        """Read what is there, at most what a pipe can hold, then end: another process may keep it open for ever."""
        self.left = 1 << 20
        self.loop.fire(self.readable)

    def shutdown(self, how: int) -> None:
        try:  # noqa: SIM105  contextlib would be one import more
            self.file.shutdown(how)
        except OSError:
            pass  # it is already gone

    def release(self) -> int:
        """Take it out of the loop without closing it; its waiters wake and find it gone."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.loop.epoll.unregister(fd)
            del self.loop.channels[fd]
            for waiters in (self.readable, self.writable, self.hangup):
                self.loop.fire(waiters)
        return fd

    def close(self) -> None:
        fd = self.release()
        if self.file is not None:
            self.file.close()
        elif fd >= 0:
            os.close(fd)


async def connect(loop: Loop, address: str | int, timeout: float) -> Channel:
    """A connected channel to a socket's path or a loopback port. Raises OSError."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    if isinstance(address, int):
        sock = socket.socket(socket.AF_INET, kind)
        number = sock.connect_ex(("127.0.0.1", address))
    else:
        sock = socket.socket(socket.AF_UNIX, kind)
        number = sock.connect_ex(address)
        deadline = time.monotonic() + timeout
        while number == 11 and time.monotonic() < deadline:  # EAGAIN: a full backlog; nothing is under way
            await wait([], 0.005)
            number = sock.connect_ex(address)
    channel = Channel(loop, sock.fileno(), sock)
    try:
        if number == 115:  # EINPROGRESS
            if not await wait(channel.writable, timeout):
                raise TimeoutError("no answer")
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        if isinstance(address, int):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        channel.close()
        raise
    return channel


async def join(task: Task, client: Channel | None = None) -> None:
    """Until the task has ended; not for a client that is gone."""
    await until(task.done, lambda: task.ended or (client is not None and client.gone))


async def pump(source: Channel, target: Channel) -> None:
    """Bytes one way, then the end of input; a broken end breaks both."""
    buffer = memoryview(bytearray(BUFFER))
    try:
        while True:
            count = await source.read_into(buffer)
            if not count:
                return target.shutdown(socket.SHUT_WR)
            await target.write(buffer[:count])
    except OSError:
        source.shutdown(socket.SHUT_RDWR)
        target.shutdown(socket.SHUT_RDWR)


async def linger(channel: Channel) -> None:
    """Close, but not before the other end did: a reset would cost it what it has not read, or a line in its log."""
    channel.shutdown(socket.SHUT_WR)
    chunk, deadline = memoryview(bytearray(CHUNK)), time.monotonic() + LINGER
    try:
        while time.monotonic() < deadline:
            if not await channel.read_into(chunk, 1.0):
                return
    finally:
        channel.close()


def log(text: str) -> None:
    """Lines for the container's log; dropped while nobody takes them, since a stuck engine must not stop the agent."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    for line in text.splitlines():
        try:
            if poll.poll(0):  # a writable pipe takes 4096 bytes without blocking
                os.write(2, line.encode("utf-8", "replace")[:4000] + b"\n")
        except OSError:
            return  # nobody will ever take them


def dumps(value: object) -> bytes:
    import json  # noqa: PLC0415  8 ms that starting does not need

    return json.dumps(value).encode()


class Child:
    """A process in a group of its own. `changed` is fired once it has ended and `exit_code` is known."""

    def __init__(self, loop: Loop, changed: Waiters, argv: list[str], **options: Any) -> None:
        import subprocess  # noqa: PLC0415  10 ms that starting does not need

        self.loop, self.changed = loop, changed
        self.exit_code: int | None = None
        self.popen = subprocess.Popen(argv, start_new_session=True, **options)
        self.pid = self.popen.pid

    def ended(self) -> bool:
        return self.exit_code is not None

    def reap(self, kill_group: bool) -> bool:
        """Whether it has ended. What is left of its group is killed while the group's number cannot be another's."""
        if self.exit_code is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if kill_group:
                self.signal(signal.SIGKILL)
            self.exit_code = self.collect()
            self.loop.fire(self.changed)
        return self.ended()

    def collect(self) -> int:
        return int(self.popen.wait())

    def signal(self, number: int) -> None:
        if self.exit_code is None:
            try:  # noqa: SIM105
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # only zombies are left of it, or it has changed its user

    async def stop(self, number: int, grace: float) -> None:
        """The signal, then SIGKILL after `grace` seconds."""
        self.signal(number)
        self.signal(signal.SIGCONT)
        if not await until(self.changed, self.ended, grace):
            self.signal(signal.SIGKILL)
            await until(self.changed, self.ended, STOP_GRACE)


class Adopted(Child):
    """A process that somebody else forked and that has become our child, the leader of a session too."""

    def __init__(self, loop: Loop, changed: Waiters, pid: int, exit_code: int | None) -> None:
        self.loop, self.changed, self.pid, self.exit_code = loop, changed, pid, exit_code

    def collect(self) -> int:
        return exit_code(os.waitpid(self.pid, 0)[1])


def exit_code(status: int) -> int:
    """Of a wait status, negative for a signal: `os.waitstatus_to_exitcode` came with Python 3.9."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str]) -> None:
        self.method, self.target, self.headers = method, target, headers
        self.body = b""

    def json(self) -> dict[str, Any]:
        import json  # noqa: PLC0415

        try:
            value = json.loads(self.body.decode() or "{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(400, "bad_request", "The body is not a JSON object.")
        return value


class Connection:
    """A client. `buffer` holds what has been read and not yet been taken."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.buffer = bytearray()
        self.chunk = memoryview(bytearray(CHUNK))
        self.patience = HEAD_TIMEOUT
        self.sending = False
        self.sent: Waiters = []

    async def fill(self, timeout: float | None = None) -> int:
        count = await self.channel.read_into(self.chunk, timeout)
        self.buffer += self.chunk[:count]
        return count

    async def take(self, size: int, timeout: float | None = None) -> bytes:
        """Exactly `size` bytes. Raises EOFError."""
        while len(self.buffer) < size:
            if not await self.fill(timeout):
                raise EOFError
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def request(self, authorized: Callable[[str], bool]) -> Request:
        """The next request. Raises EOFError at the end, Refused; without the token no body is read."""
        deadline = time.monotonic() + self.patience
        self.patience = IDLE
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > HEAD:
                raise Refused(431, "too_large", "The request's head is too large.")
            if not await self.fill(max(0.0, deadline - time.monotonic())):
                raise EOFError
        lines = (await self.take(self.buffer.find(b"\r\n\r\n") + 4)).decode("latin-1").split("\r\n")[:-2]
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Refused(400, "bad_request", "This is not an HTTP/1.1 request.")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or name.lower() in headers:
                raise Refused(400, "bad_request", "A header is malformed or comes twice.")
            headers[name.lower()] = value.strip()
        if not authorized(headers.get("authorization", "")):
            raise Refused(401, "unauthorized", "The token is missing or wrong.")
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Refused(411, "length_required", "The body needs a Content-Length.")
        if int(length) > BODY:
            raise Refused(413, "too_large", f"The body is larger than {BODY} bytes.")
        request = Request(words[0], words[1], headers)
        request.body = await self.take(int(length), HEAD_TIMEOUT)
        return request

    async def answer(self, status: int, body: bytes, more: str = "") -> None:
        head = "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n"
        text = head.format(status, "OK" if status < 300 else "Error", len(body), more)
        await self.channel.write(text.encode() + body)

    async def refuse(self, refused: Refused) -> None:
        """The last answer."""
        await self.answer(refused.status, dumps({"error": refused.body}), "Connection: close\r\n")
        await linger(self.channel)

    async def frame(self, kind: int, payload: bytes) -> None:
        """One frame, whole, even if several tasks send."""
        await until(self.sent, lambda: not self.sending)
        self.sending = True
        try:
            await self.channel.write(bytes([kind]) + len(payload).to_bytes(4, "big") + payload)
        finally:
            self.sending = False
            self.channel.loop.fire(self.sent)


def want(body: dict[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    """A field of a body, of the right type. Raises Refused."""
    value = body.get(name)
    value = default if value is None else value
    if kind == "argv":
        good = isinstance(value, list) and value and all(isinstance(v, str) and "\0" not in v for v in value)
    elif kind == "map":
        good = isinstance(value, dict) and all(isinstance(v, (str, int, float)) for v in value.values())
    elif kind is float:
        good = isinstance(value, (int, float)) and 0 < value <= 86400
    else:
        good = isinstance(value, kind) and "\0" not in str(value)
    if not good:
        raise Refused(400, "bad_request", f"`{name}` is missing or has the wrong type or value.")
    return value


def signal_number(name: object) -> signal.Signals:
    number = getattr(signal, str(name), None)
    if not isinstance(number, signal.Signals):
        raise Refused(400, "bad_request", f"There is no signal {name}.")
    return number


class Service:
    """An endpoint's process. `state` is `starting`, `ready` or `exited`; `child` is None if it could not be run."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.child: Child | None = None
        self.path: str | None = None
        self.port: int | None = None
        self.state = "starting"
        self.stopping = self.timed_out = False
        self.changed: Waiters = []
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def exited(self) -> bool:
        return self.state == "exited"

    def to_json(self) -> dict[str, Any]:
        pid, code = (self.child.pid, self.child.exit_code) if self.child else (None, 127)
        names = {"key": self.key, "pid": pid, "state": self.state}
        return dict(names, socket=self.path, port=self.port, exit_code=code)

    def note(self, line: bytes) -> None:
        text = line[:LINE].decode("utf-8", "replace").rstrip("\r")
        self.lines.append(text)
        log(f"[{self.key}] {text}")


async def collect(service: Service, output: Channel) -> None:
    """Its output into the ring, line by line."""
    chunk, rest = memoryview(bytearray(CHUNK)), b""
    while True:
        count = await output.read_into(chunk)
        if not count:
            break
        *lines, rest = (rest + chunk[:count]).split(b"\n")
        if len(rest) > LINE:
            lines.append(rest)
            rest = b""
        for line in lines:
            service.note(line)
    if rest:
        service.note(rest)


class Services:
    def __init__(self, agent: Agent) -> None:
        self.agent, self.loop = agent, agent.loop
        self.all: dict[str, Service] = {}

    async def put(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start unless it runs, wait until it is ready. Raises Refused with the log."""
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
        tail = list(service.lines)[-TAIL:]
        if service.timed_out:
            raise Refused(504, "service_timeout", f"{key} did not answer in time.", log=tail)
        text = "{} ended with exit code {}.".format(key, about["exit_code"])
        raise Refused(502, "service_exited", text, exit_code=about["exit_code"], log=tail)

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
        environ = self.agent.python().environ(dict(os.environ, **{name: fill(str(v)) for name, v in env.items()}))
        if service.path is None and service.port is None:
            raise Refused(400, "bad_request", "A service listens on {socket} or on {port}; its command names neither.")
        self.all.pop(key, None)
        self.all[key] = service
        dead = [name for name, old in self.all.items() if old.exited()]
        for name in dead[:-DEAD_SERVICES]:
            del self.all[name]
        options: dict[str, Any] = {
            "env": environ,
            "cwd": fill(cwd) or None,
            "stdin": DEVNULL,
            "stdout": PIPE,
            "stderr": STDOUT,
        }
        try:
            service.child = self.agent.child(service.changed, command, **options)
        except (OSError, ValueError) as error:
            service.note(str(error).encode("utf-8", "replace"))
            service.state = "exited"
        else:
            log("[{}] pid {}: {}".format(key, service.child.pid, " ".join(command)))
            self.loop.spawn(self.run(service, service.child, url, timeout))
        return service

    def filler(self, service: Service, variables: dict[str, Any], base: str) -> Callable[[str], str]:
        """What fills the placeholders in; a socket or a port comes into being when it is first named."""
        import re  # noqa: PLC0415
        from urllib.parse import unquote  # noqa: PLC0415

        known: dict[str, str] = {
            "python": self.agent.python().path,
            "base_url": base,
            "base_url_noslash": base.rstrip("/"),
        }
        known["path_prefix"] = unquote(base.rstrip("/"))
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
        path = os.path.join(self.agent.run_dir, f"s-{digest[:8]}.sock")
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
        """From start to exit."""
        loop, pipe = self.loop, child.popen.stdout
        assert pipe is not None
        output = Channel(loop, pipe.fileno(), pipe)
        reader = loop.spawn(collect(service, output))
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
        service.state = "exited"
        log(f"[{service.key}] exited with {child.exit_code}")
        loop.fire(service.changed)
        self.agent.publish(
            {"event": "service_exited", "key": service.key, "pid": child.pid, "exit_code": child.exit_code}
        )

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
            while b"\n" not in connection.buffer and len(connection.buffer) < HEAD:
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
            await service.child.stop(signal.SIGTERM, STOP_GRACE)
            await until(service.changed, service.exited, 1.0)
        return service.to_json()


class Agent:
    def __init__(self, loop: Loop, run_dir: str, token: bytes) -> None:
        self.loop, self.run_dir, self.token = loop, run_dir, token
        self.begun = time.monotonic()
        self.children: dict[Child, bool] = {}  # whether its group dies with it
        self.subscribers: list[tuple[deque[Any], Channel]] = []
        self.services = Services(self)
        self.kernels: Any = None
        self.interpreter: Any = None
        self.adopting = 0  # processes that are being forked for us
        self.adopts = False
        self.ending = False
        self.strays: dict[int, int] = {}  # pid -> exit code of children that nobody has claimed yet

    def child(self, changed: Waiters, argv: list[str], kill_group: bool = True, **options: Any) -> Child:
        child = Child(self.loop, changed, argv, **options)
        self.children[child] = kill_group
        return child

    def adopt(self, changed: Waiters, pid: int) -> Child:
        """A process that has been forked for us, whether or not it has ended since `adopting` was raised."""
        child = Adopted(self.loop, changed, pid, self.strays.pop(pid, None))
        if not child.ended():
            self.children[child] = True
        return child

    def reap_strays(self) -> None:
        """The ends of children that are nobody's: orphans of services and kernels, or an adoption under way."""
        known = {child.pid for child in self.children}
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None or info.si_pid in known:
                return
            code = exit_code(os.waitpid(info.si_pid, 0)[1])
            if self.adopting:
                self.strays[info.si_pid] = code

    def publish(self, event: dict[str, Any]) -> None:
        for events, channel in self.subscribers:
            events.append(event)
            if len(events) > BACKLOG:
                channel.shutdown(socket.SHUT_RDWR)  # better no news than a gap in them
            self.loop.fire(channel.hangup)

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
                    for name, seconds in KEEP_ALIVE.items():
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
                self.loop.spawn(self.serve(Connection(Channel(self.loop, sock.fileno(), sock))))

    def authorized(self, header: str) -> bool:
        import hmac  # noqa: PLC0415  3 ms, but after the socket listens, so that the first client need not try twice

        return hmac.compare_digest(header.encode("latin-1"), b"Bearer " + self.token)

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
        """Answer one request; whether the connection speaks HTTP afterwards."""
        verb = request.method + " " + request.target.partition("?")[0]
        if request.method == "CONNECT":
            await self.tunnel(connection, request)
        elif verb == "GET /v1/events":
            await self.events(connection)
        elif verb == "POST /v1/exec":
            await self.exec(connection, request)
        elif verb.partition("/v1/")[2].partition("/")[0] == "kernels":
            return await self.load_kernels().serve(connection, request)  # type: ignore[no-any-return]
        elif verb == "GET /v1/health":
            text = '{"version": "%s", "pid": %d, "python": "%d.%d.%d", "uptime": %.3f}'
            python = sys.version_info[:3]
            body = text % (PROTOCOL, os.getpid(), python[0], python[1], python[2], time.monotonic() - self.begun)
            await connection.answer(200, body.encode())
            return True
        elif verb == "POST /v1/stat":
            stats = [identity(path) for path in want(request.json(), "paths", "argv")]
            await connection.answer(200, dumps({"stats": stats}))
            return True
        else:
            await connection.answer(200, dumps(await self.service_verb(request)))
            return True
        return False

    async def service_verb(self, request: Request) -> dict[str, Any]:
        from urllib.parse import parse_qs, unquote  # noqa: PLC0415

        path, _, query = request.target.partition("?")
        words = path.split("/")
        if words[:3] != ["", "v1", "services"] or len(words) > 5:
            raise Refused(404, "not_found", f"There is no {path}.")
        key = unquote(words[3]) if len(words) > 3 else ""
        verb = request.method + " " + "/".join(words[4:])
        if len(words) == 3 and verb == "GET ":
            return {"services": [service.to_json() for service in self.services.all.values()]}
        if key and verb == "PUT ":
            return await self.services.put(key, request.json())
        if key and verb == "DELETE ":
            return await self.services.delete(key)
        if key and verb == "GET log":
            tail = parse_qs(query).get("tail", [""])[-1]
            lines = list(self.services.get(key).lines)
            return {"lines": lines[max(0, len(lines) - int(tail)) :] if tail.isdigit() else lines}
        if key and verb == "POST signal":
            service, number = self.services.get(key), signal_number(request.json().get("signal"))
            if service.child is None or service.exited():
                raise Refused(409, "not_running", f"{key} does not run.")
            service.child.signal(number)
            return {}
        raise Refused(405, "bad_method", f"{request.method} is not possible there.")

    def load_kernels(self) -> Any:
        if self.kernels is None:
            self.kernels = self.load("kernels").Kernels(self)
        return self.kernels

    def python(self) -> Any:
        """What kernels and services run, with a place for what is installed in one of them; found out once."""
        if self.interpreter is None:
            overlay = self.load("overlay")
            try:
                self.interpreter = overlay.prepare(sys.executable, os.path.expanduser("~"))
            except (OSError, ValueError) as error:
                log(f"there is no place for packages that are installed later: {error}")
                self.interpreter = overlay.Python(sys.executable)
        return self.interpreter

    def load(self, name: str) -> Any:
        """A module that lies beside this file."""
        # As "agent", since it may import from here; `-I` keeps our folder off the path, as is right for all the rest.
        sys.modules["agent"] = sys.modules[__name__]
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        try:
            return __import__(name)
        finally:
            del sys.path[0]

    async def events(self, connection: Connection) -> None:
        client, events = connection.channel, deque[Any]() if TYPE_CHECKING else deque()
        subscriber = events, client
        self.subscribers.append(subscriber)
        try:
            await client.write(STREAM)
            while True:
                await until(client.hangup, lambda: events or client.gone)
                if client.gone:
                    return
                await client.write(dumps(events.popleft()) + b"\n")
        finally:
            self.subscribers.remove(subscriber)

    async def tunnel(self, connection: Connection, request: Request) -> None:
        host, _, name = request.target.rpartition(":")
        if host == "127.0.0.1" and name.isdigit() and 0 < int(name[:6]) < 65536:
            address: str | int = int(name)
        elif host == "unix" and (name.endswith(".sock") or name[:2] == "k-") and "/" not in name and name[0] != ".":
            address = os.path.join(self.run_dir, name)
        else:
            raise Refused(403, "forbidden", "Only 127.0.0.1:<port> and unix:<name>.sock can be reached.")
        try:
            target = await connect(self.loop, address, 10.0)
        except OSError as error:
            raise Refused(502, "connection_refused", f"{request.target}: {error}") from None
        client = connection.channel
        try:
            if request.headers.get("x-mlenv-pass") == "socket" and client.file.family == socket.AF_UNIX:
                # The client gets the connected socket itself: no byte of the tunnel passes through this process.
                rights = target.release().to_bytes(4, sys.byteorder)
                head = b"HTTP/1.1 200 Connected\r\nX-Mlenv-Passed: socket\r\n\r\n"
                client.file.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                return
            await client.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await target.write(bytes(connection.buffer))
            back = self.loop.spawn(pump(target, client))
            await pump(client, target)
            await join(back)
        finally:
            target.close()

    async def exec(self, connection: Connection, request: Request) -> None:
        import binascii  # noqa: PLC0415

        if request.headers.get("upgrade") != "mlenv-exec":
            raise Refused(400, "bad_request", "exec needs `Upgrade: mlenv-exec`.")
        try:
            request.body = binascii.a2b_base64(request.headers.get("x-mlenv-exec", ""))
        except ValueError:
            raise Refused(400, "bad_request", "X-Mlenv-Exec is not base64.") from None
        body = request.json()
        argv, tty = want(body, "command", "argv"), want(body, "tty", bool, False)
        given = {name: str(value) for name, value in want(body, "env", "map", {}).items()}
        environ = self.python().environ(dict(os.environ, **given))
        options: dict[str, Any] = {"env": environ, "cwd": want(body, "cwd", str, "") or None, "kill_group": False}
        size = want(body, "rows", int, 24), want(body, "cols", int, 80)
        client, ended = connection.channel, connection.channel.hangup
        try:
            if tty:
                environ.setdefault("TERM", "xterm-256color")
                child, stdin = self.terminal(ended, argv, size, options)
                outputs = [(1, stdin)]
            else:
                child = self.child(ended, argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)
                pipes: list[Any] = [child.popen.stdin, child.popen.stdout, child.popen.stderr]
                stdin, out, err = (Channel(self.loop, pipe.fileno(), pipe) for pipe in pipes)
                outputs = [(1, out), (2, err)]
        except (OSError, ValueError) as error:
            raise Refused(422, "command_failed", str(error)) from None
        forwards: list[Task] = []
        feed = self.loop.spawn(self.feed(connection, child, stdin, tty))
        try:
            await client.write(b"HTTP/1.1 101 Upgraded\r\nUpgrade: mlenv-exec\r\nConnection: Upgrade\r\n\r\n")
            forwards += [self.loop.spawn(self.forward(channel, kind, connection)) for kind, channel in outputs]
            await until(ended, lambda: child.ended() or client.gone)
            for _, channel in outputs:
                channel.drain()
            for task in forwards:
                await join(task, client)
            if child.exit_code is not None and not client.gone:
                await connection.frame(3, child.exit_code.to_bytes(4, "big", signed=True))
                self.loop.cancel(feed)
                await linger(client)
        finally:
            for task in (feed, *forwards):
                self.loop.cancel(task)
            for channel in (stdin, *(channel for _, channel in outputs)):
                channel.close()
            self.loop.spawn(child.stop(signal.SIGHUP, STOP_GRACE))

    def terminal(
        self, ended: Waiters, argv: list[str], size: tuple[int, int], options: dict[str, Any]
    ) -> tuple[Child, Channel]:
        """A child with a terminal of its own, and the terminal's other end."""
        import fcntl  # noqa: PLC0415
        import termios  # noqa: PLC0415

        master, slave = os.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, window(*size))
            options["preexec_fn"] = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            child = self.child(ended, argv, stdin=slave, stdout=slave, stderr=slave, **options)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return child, Channel(self.loop, master)

    async def feed(self, connection: Connection, child: Child, stdin: Channel, tty: bool) -> None:
        """What the client sends: input, sizes, signals. A frame that makes no sense is ignored."""
        while True:
            head = await connection.take(5)
            size = int.from_bytes(head[1:], "big")
            if size > BODY:
                return connection.channel.shutdown(socket.SHUT_RDWR)
            payload = await connection.take(size)
            try:
                if head[0] == 0:
                    await self.feed_input(stdin, tty, payload)
                elif head[0] == 1 and tty and size == 4:
                    import fcntl  # noqa: PLC0415
                    import termios  # noqa: PLC0415

                    rows, cols = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")
                    fcntl.ioctl(stdin.fd, termios.TIOCSWINSZ, window(rows, cols))
                elif head[0] == 2 and not child.ended():
                    group = os.tcgetpgrp(stdin.fd) if tty else child.pid
                    os.killpg(group or child.pid, signal_number(payload.decode("latin-1")))
            except (OSError, Refused):
                pass  # it does not read or has ended; its exit is what counts

    async def feed_input(self, stdin: Channel, tty: bool, payload: bytes) -> None:
        if payload:
            await stdin.write(payload)
        elif tty:
            await stdin.write(b"\x04")  # what the end of input looks like on a terminal
        else:
            stdin.close()

    async def forward(self, channel: Channel, kind: int, connection: Connection) -> None:
        chunk = memoryview(bytearray(CHUNK))
        while True:
            count = await channel.read_into(chunk)
            if not count:
                return
            await connection.frame(kind, bytes(chunk[:count]))

    async def watch_signals(self, channel: Channel) -> None:
        """Children that ended, and the engine's wish that we end."""
        chunk = memoryview(bytearray(256))
        while True:
            numbers = set(chunk[: await channel.read_into(chunk)])
            for child in [child for child, kill_group in self.children.items() if child.reap(kill_group)]:
                del self.children[child]
            if self.adopts:
                self.reap_strays()
            if numbers & {signal.SIGTERM, signal.SIGINT}:
                self.loop.spawn(self.shut_down())

    async def shut_down(self) -> None:
        self.ending = True
        for task in [self.loop.spawn(child.stop(signal.SIGTERM, SHUTDOWN_GRACE)) for child in self.children]:
            await join(task)
        await wait([], 0.01)  # the last lines into the log
        self.loop.stopped = True


def beside(name: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


def read_variables() -> None:
    """What the engine is not to show to its users, into our own variables and so into those of all that we start."""
    try:
        with open(beside("environ"), "rb") as file:
            words = file.read().split(b"\0")
    except FileNotFoundError:
        return
    for word in words:
        name, equals, value = word.partition(b"=")
        if name and equals:
            os.environb[name] = value


def service_variables(endpoint: str) -> dict[str, Any]:
    import json  # noqa: PLC0415

    try:
        with open(beside("services.json"), encoding="utf-8") as file:
            return dict(json.load(file).get(endpoint, {}))
    except (OSError, ValueError):
        return {}


def identity(path: str) -> list[int] | None:
    """Device and inode of what lies at a path, links followed."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_dev, found.st_ino]


def window(rows: int, cols: int) -> bytes:
    """The kernel's `struct winsize`."""
    return b"".join(min(max(n, 0), 65535).to_bytes(2, sys.byteorder) for n in (rows, cols, 0, 0))


def remove(path: str) -> None:
    try:  # noqa: SIM105
        os.unlink(path)
    except FileNotFoundError:
        pass


def sweep(run_dir: str) -> None:
    """Remove sockets and files of what ran in a life of this environment that ended without taking leave."""
    for name in os.listdir(run_dir):
        if name.startswith(("k-", "s-")):
            remove(os.path.join(run_dir, name))


def listening(run_dir: str, port: int) -> socket.socket:
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
    options = dict(zip(argv[::2], argv[1::2]))  # noqa: B905  `strict` came with Python 3.10
    if len(argv) % 2 or not {"--run-dir", "--token"} <= set(options) <= {"--run-dir", "--token", "--port"}:
        fail("usage: agent.py --run-dir DIR --token FILE [--port PORT]")
    run_dir = os.path.abspath(options["--run-dir"])
    try:
        with open(options["--token"], "rb") as file:
            token = file.read().strip()
        if not token:
            fail(f"the token in {options['--token']} is empty")
        read_variables()
        sweep(run_dir)
        listener = listening(run_dir, int(options.get("--port", 0)))
    except (OSError, ValueError) as error:
        fail(f"cannot start: {error}")
    loop = Loop()
    agent = Agent(loop, run_dir, token)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)  # the number arrives through the pipe
    loop.spawn(agent.watch_signals(Channel(loop, reader)))
    loop.spawn(agent.listen(listener))
    loop.run()
    sweep(run_dir)
    if "--port" not in options:
        remove(os.path.join(run_dir, "agent.sock"))
    os._exit(0)  # without taking leave of every client, which would run the rest of each half-done request


if __name__ == "__main__":
    main(sys.argv[1:])
