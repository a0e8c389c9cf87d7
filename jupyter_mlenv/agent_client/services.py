"""An environment's services, as its agent has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import answers
from .transport import Transport


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
        """The argument of `AgentClient.tunnel` for it."""
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


class Services:
    """The verbs below `/v1/services`. Every method raises `AgentUnreachable`, as the transport does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def start(
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
        return await self._transport.call("PUT", _path(key), body, read=_service_started, timeout=timeout + 30.0)

    async def list(self) -> list[ServiceStatus]:
        """Return all, the one that was started first coming first."""
        return await self._transport.call("GET", "/v1/services", read=_services)

    async def log(self, key: str, tail: int = 200) -> Sequence[str]:
        """Return its last lines, oldest first, also after its exit. Raises NotFound."""
        path = f"{_path(key)}/log?tail={tail}"
        return await self._transport.call("GET", path, read=lambda answer: answers.words(answer, "lines"))

    async def stop(self, key: str) -> None:
        """End it by SIGTERM, and SIGKILL 5 s later; returns when it has ended. Raises NotFound."""
        await self._transport.call("DELETE", _path(key), read=dict)


def _path(key: str) -> str:
    return f"/v1/services/{quote(key, safe='')}"


def _place(answer: dict[str, Any]) -> tuple[str | None, int | None]:
    """Return where a service listens: the path of a socket in the run directory, or a port."""
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
            answers.state(item),
            *_place(item),
            answers.optional(answers.number, item, "exit_code"),
        )
        for item in answers.records(answer, "services")
    ]
