"""Speaks the agent's protocol (`docs/architecture.md`) over a route.

Every request has a connection of its own: on a unix socket one costs less than keeping a pool right.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from ..errors import (
    AgentUnreachable,
    EnvironmentFailed,
    KernelExists,
    KernelExited,
    KernelTimeout,
    MlenvError,
    NoKernelspec,
    NotFound,
    RequestInvalid,
    ServiceExited,
    ServiceTimeout,
)
from . import answers
from .exec_session import ExecSession
from .routes import HEAD_LIMIT, TcpRoute, TunnelRoute, UnixRoute, connect, unreachable, within

T = TypeVar("T")

STATES = ("starting", "ready", "exited")
"""Of services and kernels."""

BODY_LIMIT = 8 << 20
"""Bytes of an answer: a log of 500 lines of 8 KiB, twice."""

PATIENCE = 60.0
"""Seconds for the beginning of a stream or a command."""

LIMIT = 1 << 18
"""Bytes read ahead from an agent before it has to wait."""

BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
"""What reading an answer raises that breaks off or is not the agent's."""

ERRORS: dict[str, type[MlenvError]] = {
    "service_exited": ServiceExited,
    "service_timeout": ServiceTimeout,
    "kernel_exited": KernelExited,
    "kernel_timeout": KernelTimeout,
    "kernel_exists": KernelExists,
    "no_kernelspec": NoKernelspec,
    "not_found": NotFound,
    "bad_request": RequestInvalid,
    "command_failed": RequestInvalid,
    "forbidden": RequestInvalid,
    "too_large": RequestInvalid,
    "unauthorized": AgentUnreachable,
    "stopping": AgentUnreachable,
}

HINTS = {
    "unauthorized": "The environment's token has changed: restart the environment.",
    "service_exited": "The log says why; the next request starts it again.",
    "service_timeout": "The log says what it was doing; the next request starts it again.",
    "kernel_exited": "The log says why; is ipykernel installed in the image?",
    "kernel_timeout": "The log says what it was doing; start the kernel again.",
}


@dataclass(frozen=True)
class ServiceInfo:
    """A service that is ready.

    `socket` is its path inside the container (`/run/mlenv/s-….sock`), else `port` on the container's loopback.
    `started`: this request started it.
    """

    key: str
    pid: int
    socket: str | None
    port: int | None
    started: bool

    @property
    def target(self) -> str:
        """What `AgentClient.tunnel` takes."""
        return f"unix:{self.socket.rpartition('/')[2]}" if self.socket else f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class ServiceStatus:
    """A service that was ever started, unless its key was started again since.

    `state` is `starting`, `ready` or `exited`; `exit_code` is negative for a signal, `pid` None if it could not be run.
    """

    key: str
    pid: int | None
    state: str
    socket: str | None
    port: int | None
    exit_code: int | None


@dataclass(frozen=True)
class KernelStarted:
    """A kernel whose sockets are bound. `forked`: from the zygote, not executed as a fresh interpreter.

    `interrupt_mode`: what the image's kernelspec says, where one was named, else empty.
    """

    id: str
    pid: int
    forked: bool
    interrupt_mode: str = ""


@dataclass(frozen=True)
class KernelStatus:
    """A kernel that was started and not stopped.

    `state` is `starting`, `ready` or `exited`; `exit_code` is negative for a signal. `holders`: streams of `hold`.
    `note`: what was written down about it last, by whoever started it or anything in the environment.
    """

    id: str
    pid: int | None
    state: str
    forked: bool
    exit_code: int | None
    holders: int
    note: Mapping[str, Any] = field(default_factory=dict)


MADE_ANEW = "Make the environment anew: start it with --recreate. What was installed in it goes with it."
"""What to do with an agent that is not ours, or is too old."""


class AgentClient:
    """The agent of one environment. Holds no connection between calls.

    Every method raises `AgentUnreachable` when the agent does not answer or does not accept the token.
    """

    def __init__(self, route: UnixRoute | TcpRoute, token: str) -> None:
        self.route = route
        self.token = token

    async def health(self) -> dict[str, Any]:
        """`version`, `pid`, `python`, `uptime` in seconds."""
        return await self._call("GET", "/v1/health", read=_health, timeout=10.0)

    async def ready(self, timeout: float, still_running: Callable[[], Awaitable[None]] | None = None) -> dict[str, Any]:
        """Wait until the agent answers, right after its container was started; its health.

        `still_running` is awaited every quarter of a second or so and raises if waiting is in vain, as a container
        that has exited. Raises `AgentUnreachable` after `timeout` seconds.
        """
        begun = asked = time.monotonic()
        pause = 0.002
        while True:
            try:
                return await self.health()
            except AgentUnreachable as error:
                now = time.monotonic()
                if error.details.get("code") == "unauthorized":
                    raise
                if still_running is not None and now - asked > 0.25:
                    await still_running()
                    asked = time.monotonic()
                if now - begun > timeout:
                    raise AgentUnreachable(
                        f"The environment's agent did not answer within {timeout:g} s: {error.message}",
                        hint="Look at `jupyter mlenv logs`; the image needs Python 3.8 or newer.",
                    ) from error
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    async def stat(self, paths: Sequence[str]) -> list[tuple[int, int] | None]:
        """Device and inode of what the environment has at each path; `None` where it has nothing."""
        if not paths:
            return []
        answer = await self._call("POST", "/v1/stat", {"paths": list(paths)}, read=dict, timeout=10.0)
        stats = answer.get("stats")
        if not isinstance(stats, list) or len(stats) != len(paths):
            raise AgentUnreachable("The environment's agent did not say what it sees.", hint=MADE_ANEW)
        return [_identity(found) for found in stats]

    async def start_service(
        self,
        key: str,
        *,
        command: Sequence[str],
        base_url: str,
        ready: str = "",
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        variables: Mapping[str, str | int] | None = None,
    ) -> ServiceInfo:
        """Start the service unless it runs and wait, at most `timeout` seconds, until it is ready.

        Raises `ServiceExited` (`details["exit_code"]`, negative for a signal) and `ServiceTimeout`, both with the last
        lines of its log, and `RequestInvalid`.
        """
        body = {
            "command": list(command),
            "base_url": base_url,
            "ready": ready,
            "timeout": timeout,
            "env": dict(env or {}),
            "cwd": cwd,
            "variables": dict(variables or {}),
        }
        # The agent keeps the time; ours only covers an agent that hangs.
        return await self._call("PUT", self._path(key), body, read=_service_started, timeout=timeout + 30.0)

    async def services(self) -> list[ServiceStatus]:
        """Oldest start first."""
        return await self._call("GET", "/v1/services", read=_services)

    async def service_log(self, key: str, tail: int = 200) -> list[str]:
        """Its last lines, oldest first, also after its exit. Raises NotFound."""
        path = f"{self._path(key)}/log?tail={tail}"
        return await self._call("GET", path, read=lambda answer: answers.words(answer, "lines"))

    async def stop_service(self, key: str) -> None:
        """SIGTERM, and SIGKILL 5 s later; returns when it has ended. Raises NotFound."""
        await self._call("DELETE", self._path(key), read=dict)

    async def start_kernel(
        self,
        id: str,
        *,
        connection: Mapping[str, Any],
        argv: Sequence[str] | None = None,
        spec: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        preload: Sequence[str] = (),
        fork: bool = True,
        timeout: float = 60.0,
        grace: float = 60.0,
        note: Mapping[str, Any] | None = None,
        alone: bool = False,
    ) -> KernelStarted:
        """Start a kernel and wait, at most `timeout` seconds, until its sockets are bound.

        Parameters
        ----------
        connection
            The content of its connection file. With `transport` `ipc`, `ip` is a path prefix inside the container.
        argv
            The command of a kernel of another kind; `{connection_file}` is replaced. None: an ipykernel.
        spec
            The name of a kernelspec inside the environment, which says the command instead.
        preload
            Modules that are imported before the fork, in vain if they cannot be.
        fork
            False: an ipykernel in a fresh interpreter.
        grace
            Seconds after which it ends if nobody holds it.
        note
            Anything, for `kernels` to give back; 1 MiB with all else.
        alone
            The environment is for this kernel only: when nobody has held it for its grace, the environment stops too.

        Raises `KernelExited` and `KernelTimeout`, both with the last lines of its log; `KernelExists`;
        `RequestInvalid`, also for a folder that is not there; `NoKernelspec`.
        """
        body = {
            "connection": dict(connection),
            "argv": None if argv is None else list(argv),
            "spec": spec,
            "env": dict(env or {}),
            "cwd": cwd,
            "preload": list(preload),
            "fork": fork,
            "alone": alone,
            "timeout": timeout,
            "grace": grace,
            "note": dict(note or {}),
        }
        return await self._call("PUT", _kernel_path(id), body, read=_kernel_started, timeout=timeout + 30.0)

    async def kernels(self) -> list[KernelStatus]:
        """Oldest start first."""
        return await self._call("GET", "/v1/kernels", read=_kernels)

    async def note_kernel(self, id: str, note: Mapping[str, Any]) -> None:
        """Write down something else about it. Raises NotFound."""
        await self._call("PUT", f"{_kernel_path(id)}/note", dict(note), read=dict)

    async def signal_kernel(self, id: str, name: str) -> None:
        """Send a signal such as `SIGINT` to its process group. Raises NotFound, RequestInvalid."""
        await self._call("POST", f"{_kernel_path(id)}/signal", {"signal": name}, read=dict)

    async def stop_kernel(self, id: str) -> None:
        """SIGTERM, and SIGKILL 5 s later; returns when it has ended and its files are gone. Raises NotFound."""
        await self._call("DELETE", _kernel_path(id), read=dict)

    async def hold(self, id: str) -> AsyncIterator[dict[str, Any]]:
        """Keep the kernel alive while this is iterated, and hear of its end.

        `{"event": "held"}` first, then `{"event": "kernel_exited", "exit_code", "oom": bool, "memory_limit": bytes or
        None, "stopping": bool}`, which is the last; also for a kernel that has ended already. `stopping`: so is the
        environment. Raises NotFound, and `AgentUnreachable` when the agent has gone.
        """
        async for event in self._stream(f"{_kernel_path(id)}/hold", _held):
            yield event
            if event["event"] == "kernel_exited":
                return
        raise AgentUnreachable("The agent let go of the kernel.")

    def tunnel(self, target: str) -> TunnelRoute:
        """The route to `127.0.0.1:<port>` or `unix:<name>.sock` inside the container."""
        return TunnelRoute(self.route, self.token, target)

    async def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
    ) -> ExecSession:
        """Run a command in the container; it is killed when the session is closed before it has ended.

        Raises `RequestInvalid` if there is no such program or folder.
        """
        wish = {"command": list(command), "env": dict(env or {}), "cwd": cwd, "tty": tty, "rows": rows, "cols": cols}
        encoded = base64.b64encode(json.dumps(wish).encode()).decode()
        headers = f"Connection: Upgrade\r\nUpgrade: mlenv-exec\r\nX-Mlenv-Exec: {encoded}\r\n"
        reader, writer = await self._open("POST /v1/exec", headers)
        try:
            status, answer = await within(PATIENCE, _read_head(reader))
            if status != 101:
                raise _error(status, await within(PATIENCE, _read_body(reader, answer)))
        except BROKEN as error:
            writer.close()
            raise _broken(error) from error
        except BaseException:
            writer.close()
            raise
        return ExecSession(reader, writer, tty)

    def _path(self, key: str) -> str:
        return f"/v1/services/{quote(key, safe='')}"

    async def _open(
        self, verb: str, headers: str = "", body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            sock = await connect(self.route)
        except OSError as error:
            raise unreachable(error) from error
        reader, writer = await asyncio.open_connection(sock=sock, limit=LIMIT)
        head = f"{verb} HTTP/1.1\r\nAuthorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def _call(
        self, method: str, path: str, body: Any = None, *, read: Callable[[dict[str, Any]], T], timeout: float = 30.0
    ) -> T:
        """What `read` makes of the answer."""
        try:
            return await within(timeout, self._exchange(method, path, body, read))
        except TimeoutError:
            raise AgentUnreachable(
                f"The environment's agent did not answer {method} {path} within {timeout:g} s.",
                hint="Restart the environment.",
            ) from None

    async def _stream(
        self, path: str, read: Callable[[dict[str, Any]], dict[str, Any]], first: dict[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """What `read` makes of the lines of a stream, after `first`, which says that it has begun."""
        reader, writer = await self._open(f"GET {path}")
        try:
            status, headers = await within(PATIENCE, _read_head(reader))
            if status != 200:
                raise _error(status, await within(PATIENCE, _read_body(reader, headers)))
            if first is not None:
                yield first
            while line := await reader.readline():
                yield read(answers.parse(line))
                await asyncio.sleep(0)  # what is read ahead is no reason to keep the loop
        except BROKEN as error:
            raise _broken(error) from error
        finally:
            writer.close()

    async def _exchange(self, method: str, path: str, body: Any, read: Callable[[dict[str, Any]], T]) -> T:
        data = b"" if body is None else json.dumps(body).encode()
        reader, writer = await self._open(f"{method} {path}", body=data)
        try:
            status, headers = await _read_head(reader)
            answer = await _read_body(reader, headers)
            if status != 200:
                raise _error(status, answer)
            return read(answer)
        except BROKEN as error:
            raise _broken(error) from error
        finally:
            writer.close()


def _identity(found: object) -> tuple[int, int] | None:
    match found:
        case [int(device), int(inode)]:
            return device, inode
    return None


def _kernel_path(id: str) -> str:
    return f"/v1/kernels/{quote(id, safe='')}"


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and lower-case headers. Raises ValueError, asyncio.IncompleteReadError."""
    head = await reader.readuntil(b"\r\n\r\n")
    if len(head) > HEAD_LIMIT:
        raise ValueError("its head is too long")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not re.fullmatch("[1-5][0-9][0-9]", words[1]):
        raise ValueError("this is not the agent's protocol")
    headers = (line.partition(":") for line in lines[1:-2])
    return int(words[1]), {name.lower(): value.strip() for name, _, value in headers}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> dict[str, Any]:
    length = headers.get("content-length", "")
    if not re.fullmatch("[0-9]{1,9}", length):
        raise ValueError("this is not the agent's protocol")
    if int(length) > BODY_LIMIT:
        raise ValueError(f"it is larger than {BODY_LIMIT >> 20} MiB")
    return answers.parse(await reader.readexactly(int(length)))


def _broken(error: BaseException) -> AgentUnreachable:
    why = "it closed the connection" if isinstance(error, EOFError) else str(error)
    return AgentUnreachable(f"The environment's agent broke off its answer: {why}.", hint="Restart the environment.")


def _error(status: int, answer: Mapping[str, Any]) -> MlenvError:
    """The agent's error as one of ours; what it says beyond message and log goes into the details."""
    error = answers.record(answer.get("error", {}))
    log, details = answers.words(error, "log"), answers.facts(error)
    code, message = str(details.get("code", "")), str(details.pop("message", f"The agent answered {status}."))
    return ERRORS.get(code, EnvironmentFailed)(message, hint=HINTS.get(code, ""), details=details, log=log)


def _health(answer: dict[str, Any]) -> dict[str, Any]:
    uptime = answer.get("uptime")
    if not isinstance(uptime, (int, float)):
        raise ValueError("uptime is no number")
    texts = {name: answers.word(answer, name) for name in ("version", "python")}
    return {**texts, "pid": answers.number(answer, "pid"), "uptime": uptime}


def _place(answer: dict[str, Any]) -> tuple[str | None, int | None]:
    """Where a service listens: the name of a socket in the run directory, or a port."""
    path, port = answers.optional(answers.word, answer, "socket"), answers.optional(answers.number, answer, "port")
    if path is not None and not re.fullmatch(r"/(\S*/)?s-[0-9a-f]+\.sock", path):
        raise ValueError("socket is none of a service")
    if port is not None and not 0 < port < 65536:
        raise ValueError("port is none")
    return path, port


def _service_started(answer: dict[str, Any]) -> ServiceInfo:
    path, port = _place(answer)
    if path is None and port is None:
        raise ValueError("the service listens nowhere")
    key, pid = answers.word(answer, "key"), answers.number(answer, "pid")
    return ServiceInfo(key, pid, path, port, answers.flag(answer, "started"))


def _services(answer: dict[str, Any]) -> list[ServiceStatus]:
    return [
        ServiceStatus(
            answers.word(item, "key"),
            answers.optional(answers.number, item, "pid"),
            _state(item),
            *_place(item),
            answers.optional(answers.number, item, "exit_code"),
        )
        for item in answers.records(answer, "services")
    ]


def _state(answer: dict[str, Any]) -> str:
    state = answers.word(answer, "state")
    if state not in STATES:
        raise ValueError("state is none")
    return state


def _kernel_started(answer: dict[str, Any]) -> KernelStarted:
    mode = answers.word(answer, "interrupt_mode", "")
    return KernelStarted(
        answers.word(answer, "id"), answers.number(answer, "pid"), answers.flag(answer, "forked"), mode
    )


def _kernels(answer: dict[str, Any]) -> list[KernelStatus]:
    return [
        KernelStatus(
            answers.word(item, "id"),
            answers.optional(answers.number, item, "pid"),
            _state(item),
            answers.flag(item, "forked"),
            answers.optional(answers.number, item, "exit_code"),
            answers.number(item, "holders"),
            answers.record(item.get("note", {})),
        )
        for item in answers.records(answer, "kernels")
    ]


def _held(answer: dict[str, Any]) -> dict[str, Any]:
    event = answers.word(answer, "event")
    if event != "kernel_exited":
        return {"event": event}
    return {
        "event": event,
        "exit_code": answers.optional(answers.number, answer, "exit_code"),
        "oom": bool(answers.optional(answers.flag, answer, "oom")),
        "memory_limit": answers.optional(answers.number, answer, "memory_limit"),
        "stopping": bool(answers.optional(answers.flag, answer, "stopping")),
    }
