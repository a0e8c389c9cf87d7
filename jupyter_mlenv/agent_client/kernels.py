"""An environment's kernels, as its agent has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote

from ..errors import AgentUnreachable
from . import answers
from .transport import Transport


@dataclass(frozen=True)
class KernelRequest:
    """A kernel to start.

    Parameters
    ----------
    connection
        The content of its connection file. With `transport` `ipc`, `ip` is a path prefix inside the container.
    argv
        The command of a kernel of another kind; `{connection_file}` is replaced. None: an ipykernel.
    spec
        The name of a kernelspec inside the environment, which says the command instead.
    env
        Variables of the kernel, on top of the environment's.
    cwd
        Its folder as the environment sees it.
    preload
        Modules that are imported before the fork, in vain if they cannot be.
    fork
        False: an ipykernel in a fresh interpreter.
    timeout
        Seconds until its sockets must be bound.
    grace
        Seconds after which it ends if nobody holds it.
    note
        Anything, for `Kernels.list` to give back; 1 MiB with all else.
    alone
        The environment is for this kernel only: when nobody has held it for its grace, the environment stops too.
    """

    connection: Mapping[str, Any]
    argv: Sequence[str] | None = None
    spec: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    preload: Sequence[str] = ()
    fork: bool = True
    timeout: float = 60.0
    grace: float = 60.0
    note: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


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


class Kernels:
    """The verbs below `/v1/kernels`. Every method raises `AgentUnreachable`, as the transport does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def start(self, id: str, request: KernelRequest) -> KernelStarted:
        """Start a kernel and wait until its sockets are bound.

        Raises `KernelExited` and `KernelTimeout`, both with the last lines of its log; `KernelExists`;
        `RequestInvalid`, also for a folder that is not there; `NoKernelspec`.
        """
        # The agent keeps the time; ours only covers an agent that hangs.
        timeout = request.timeout + 30.0
        return await self._transport.call("PUT", _path(id), asdict(request), read=_kernel_started, timeout=timeout)

    async def list(self) -> list[KernelStatus]:
        """Return all, the one that was started first coming first."""
        return await self._transport.call("GET", "/v1/kernels", read=_kernels)

    async def note(self, id: str, note: Mapping[str, Any]) -> None:
        """Write something else down about it. Raises NotFound."""
        await self._transport.call("PUT", f"{_path(id)}/note", dict(note), read=dict)

    async def signal(self, id: str, name: str) -> None:
        """Send a signal such as `SIGINT` to its process group. Raises NotFound, RequestInvalid."""
        await self._transport.call("POST", f"{_path(id)}/signal", {"signal": name}, read=dict)

    async def stop(self, id: str) -> None:
        """End it by SIGTERM, SIGKILL 5 s later; returns when it has ended and its files are gone. Raises NotFound."""
        await self._transport.call("DELETE", _path(id), read=dict)

    async def hold(self, id: str) -> AsyncIterator[dict[str, Any]]:
        """Keep the kernel alive while this is iterated, and hear of its end.

        `{"event": "held"}` first, then `{"event": "kernel_exited", "exit_code", "oom": bool, "memory_limit": bytes or
        None, "stopping": bool}`, which is the last; also for a kernel that has ended already. `stopping`: so is the
        environment. Raises NotFound, and `AgentUnreachable` when the agent has gone.
        """
        async for event in self._transport.stream(f"{_path(id)}/hold", _held):
            yield event
            if event["event"] == "kernel_exited":
                return
        raise AgentUnreachable("The agent let go of the kernel.")


def _path(id: str) -> str:
    return f"/v1/kernels/{quote(id, safe='')}"


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
            answers.state(item),
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
