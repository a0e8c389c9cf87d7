"""Requests to an agent over a route. Each has a connection of its own: on a unix socket that costs less than a pool."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

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
from .routes import MAX_HEAD_BYTES, TcpRoute, UnixRoute, connect, unreachable, within

T = TypeVar("T")

MAX_BODY_BYTES = 8 << 20
"""Bytes of an answer: a log of 500 lines of 8 KiB, twice."""

STREAM_TIMEOUT_SECONDS = 60.0
"""Seconds for the beginning of a stream or a command."""

READ_AHEAD_BYTES = 1 << 18
"""Bytes read ahead from an agent before it has to wait."""

BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
"""Errors of reading an answer that breaks off or is not the agent's."""

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


class Transport:
    """The way to one agent. Every method raises `AgentUnreachable` when it does not answer or refuses the token."""

    def __init__(self, route: UnixRoute | TcpRoute, token: str) -> None:
        self.route, self.token = route, token

    async def open(
        self, verb: str, headers: str = "", body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect and send a request."""
        try:
            sock = await connect(self.route)
        except OSError as error:
            raise unreachable(error) from error
        reader, writer = await asyncio.open_connection(sock=sock, limit=READ_AHEAD_BYTES)
        head = f"{verb} HTTP/1.1\r\nAuthorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def call(
        self, method: str, path: str, body: Any = None, *, read: Callable[[dict[str, Any]], T], timeout: float = 30.0
    ) -> T:
        """Return what `read` makes of the answer."""
        try:
            return await within(timeout, self._exchange(method, path, body, read))
        except TimeoutError:
            raise AgentUnreachable(
                f"The environment's agent did not answer {method} {path} within {timeout:g} s.",
                hint="Restart the environment.",
            ) from None

    async def stream(
        self, path: str, read: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what `read` makes of the lines of a stream."""
        reader, writer = await self.open(f"GET {path}")
        try:
            status, headers = await within(STREAM_TIMEOUT_SECONDS, read_head(reader))
            if status != 200:
                raise error_of(status, await within(STREAM_TIMEOUT_SECONDS, read_body(reader, headers)))
            while line := await reader.readline():
                yield read(answers.parse(line))
                await asyncio.sleep(0)  # what is read ahead is no reason to keep the loop
        except BROKEN as error:
            raise broken(error) from error
        finally:
            writer.close()

    async def _exchange(self, method: str, path: str, body: Any, read: Callable[[dict[str, Any]], T]) -> T:
        data = b"" if body is None else json.dumps(body).encode()
        reader, writer = await self.open(f"{method} {path}", body=data)
        try:
            status, headers = await read_head(reader)
            answer = await read_body(reader, headers)
            if status != 200:
                raise error_of(status, answer)
            return read(answer)
        except BROKEN as error:
            raise broken(error) from error
        finally:
            writer.close()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Return status and lower-case headers. Raises ValueError, asyncio.IncompleteReadError."""
    head = await reader.readuntil(b"\r\n\r\n")
    if len(head) > MAX_HEAD_BYTES:
        raise ValueError("its head is too long")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not re.fullmatch("[1-5][0-9][0-9]", words[1]):
        raise ValueError("this is not the agent's protocol")
    headers = (line.partition(":") for line in lines[1:-2])
    return int(words[1]), {name.lower(): value.strip() for name, _, value in headers}


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON of an answer. Raises ValueError, asyncio.IncompleteReadError."""
    length = headers.get("content-length", "")
    if not re.fullmatch("[0-9]{1,9}", length):
        raise ValueError("this is not the agent's protocol")
    if int(length) > MAX_BODY_BYTES:
        raise ValueError(f"it is larger than {MAX_BODY_BYTES >> 20} MiB")
    return answers.parse(await reader.readexactly(int(length)))


def broken(error: BaseException) -> AgentUnreachable:
    """Return the error of an answer that broke off."""
    why = "it closed the connection" if isinstance(error, EOFError) else str(error)
    return AgentUnreachable(f"The environment's agent broke off its answer: {why}.", hint="Restart the environment.")


def error_of(status: int, answer: Mapping[str, Any]) -> MlenvError:
    """Return the agent's error as one of ours; what it says beyond message and log goes into the details."""
    error = answers.record(answer.get("error", {}))
    log, details = answers.words(error, "log"), answers.facts(error)
    code, message = str(details.get("code", "")), str(details.pop("message", f"The agent answered {status}."))
    return ERRORS.get(code, EnvironmentFailed)(message, hint=HINTS.get(code, ""), details=details, log=log)
