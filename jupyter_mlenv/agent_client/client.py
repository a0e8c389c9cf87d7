"""The agent of one environment, by the protocol in `docs/architecture.md`."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..errors import AgentUnreachable
from . import answers, ports
from .exec_session import ExecSession
from .kernels import Kernels
from .ports import ListeningPort
from .routes import TcpRoute, TunnelRoute, UnixRoute, within
from .services import Services
from .transport import BROKEN, STREAM_TIMEOUT_SECONDS, Transport, broken, error_of, read_body, read_head

MADE_ANEW = "Make the environment anew: start it with --recreate. What was installed in it goes with it."
"""The hint about an agent that is not ours, or is too old."""


class AgentClient:
    """The agent of one environment. Holds no connection between calls.

    Every method raises `AgentUnreachable` when the agent does not answer or does not accept the token.
    """

    def __init__(self, route: UnixRoute | TcpRoute, token: str) -> None:
        self._transport = Transport(route, token)
        self.services, self.kernels = Services(self._transport), Kernels(self._transport)

    @property
    def route(self) -> UnixRoute | TcpRoute:
        return self._transport.route

    @property
    def token(self) -> str:
        return self._transport.token

    async def health(self) -> dict[str, Any]:
        """Return `version`, `pid`, `python`, `uptime` in seconds."""
        return await self._transport.call("GET", "/v1/health", read=_health, timeout=10.0)

    async def ready(self, timeout: float, still_running: Callable[[], Awaitable[None]] | None = None) -> dict[str, Any]:
        """Wait until the agent answers, right after its container was started; return its health.

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
        """Return device and inode of what the environment has at each path; `None` where it has nothing."""
        if not paths:
            return []
        answer = await self._transport.call("POST", "/v1/stat", {"paths": list(paths)}, read=dict, timeout=10.0)
        stats = answer.get("stats")
        if not isinstance(stats, list) or len(stats) != len(paths):
            raise AgentUnreachable("The environment's agent did not say what it sees.", hint=MADE_ANEW)
        return [_identity(found) for found in stats]

    async def ports(self) -> list[ListeningPort]:
        """Return the ports on which programs in the environment listen, besides its endpoints and kernels."""
        return await self._transport.call("GET", "/v1/ports", read=ports.read, timeout=10.0)

    def tunnel(self, target: str) -> TunnelRoute:
        """Return the route to `127.0.0.1:<port>` or `unix:<name>.sock` inside the container."""
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
        request = {"command": list(command), "env": dict(env or {}), "cwd": cwd, "tty": tty, "rows": rows, "cols": cols}
        encoded = base64.b64encode(json.dumps(request).encode()).decode()
        headers = f"Connection: Upgrade\r\nUpgrade: mlenv-exec\r\nX-Mlenv-Exec: {encoded}\r\n"
        reader, writer = await self._transport.open("POST /v1/exec", headers)
        try:
            status, answer = await within(STREAM_TIMEOUT_SECONDS, read_head(reader))
            if status != 101:
                raise error_of(status, await within(STREAM_TIMEOUT_SECONDS, read_body(reader, answer)))
        except BROKEN as error:
            writer.close()
            raise broken(error) from error
        except BaseException:
            writer.close()
            raise
        return ExecSession(reader, writer, tty)


def _identity(found: object) -> tuple[int, int] | None:
    match found:
        case [int(device), int(inode)]:
            return device, inode
    return None


def _health(answer: dict[str, Any]) -> dict[str, Any]:
    uptime = answer.get("uptime")
    if not isinstance(uptime, (int, float)):
        raise ValueError("uptime is no number")
    texts = {name: answers.word(answer, name) for name in ("version", "python")}
    return {**texts, "pid": answers.number(answer, "pid"), "uptime": uptime}
