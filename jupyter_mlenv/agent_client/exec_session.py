"""A command that runs in a container: what it prints and what it is told (`POST /v1/exec` of the agent)."""

from __future__ import annotations

import asyncio
from typing import Literal

from ..errors import AgentUnreachable

STDIN_CHUNK_BYTES = 1 << 16
"""Bytes of input per frame; the agent refuses more than 1 MiB."""

MAX_FRAME_BYTES = 1 << 20
"""Bytes of a frame of output; the agent sends 64 KiB at once."""

STDIN, RESIZE, SIGNAL = 0, 1, 2
STDOUT, STDERR, EXIT = 1, 2, 3


class ExecSession:
    """A command that runs in a container. Use as an async context manager: leaving it ends the command.

    Iterate over the session for its output: `("stdout" | "stderr", bytes)`; with a terminal all of it is `stdout`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tty: bool) -> None:
        self.tty = tty
        self.exit_code: int | None = None
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> ExecSession:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __aiter__(self) -> ExecSession:
        return self

    async def __anext__(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """The next piece of output. Raises `AgentUnreachable` if the agent goes away before the command has ended."""
        while self.exit_code is None:
            try:
                head = await self._reader.readexactly(5)
                payload = await self._reader.readexactly(_size(head))
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                raise AgentUnreachable(
                    "The connection to the command broke: the environment was stopped, or its agent ended.",
                    hint="Look at `jupyter mlenv list` and `jupyter mlenv logs`.",
                ) from error
            if head[0] == EXIT:
                self.exit_code = int.from_bytes(payload, "big", signed=True)
            elif head[0] in (STDOUT, STDERR):
                return ("stdout" if head[0] == STDOUT else "stderr"), payload
        raise StopAsyncIteration

    async def write(self, data: bytes) -> None:
        """Input for the command; returns when the agent has room for more. Writing to an ended one is no error."""
        for start in range(0, len(data), STDIN_CHUNK_BYTES):
            await self._send(STDIN, data[start : start + STDIN_CHUNK_BYTES])

    async def write_eof(self) -> None:
        """The end of the input; on a terminal, what Ctrl+D types."""
        await self._send(STDIN, b"")

    async def resize(self, rows: int, cols: int) -> None:
        """The size of the terminal, in characters."""
        await self._send(RESIZE, rows.to_bytes(2, "big") + cols.to_bytes(2, "big"))

    async def signal(self, name: str) -> None:
        """A signal such as `SIGINT`: to the terminal's foreground process group, or to the command's group."""
        await self._send(SIGNAL, name.encode())

    async def wait(self) -> int:
        """The exit code, negative for a signal; output that nobody has read by then is dropped."""
        async for _ in self:
            pass
        assert self.exit_code is not None
        return self.exit_code

    async def close(self) -> None:
        """Let go: a command that still runs is hung up on (SIGHUP, then SIGKILL)."""
        self._writer.close()

    async def _send(self, kind: int, payload: bytes) -> None:
        if self.exit_code is not None or self._writer.is_closing():
            return
        self._writer.write(bytes([kind]) + len(payload).to_bytes(4, "big") + payload)
        try:
            await self._writer.drain()
        except OSError:
            return  # it has ended; reading tells how


def _size(head: bytes) -> int:
    """Return the size of a frame's payload, in bytes. Raises ValueError for a frame that no agent of ours sends."""
    kind, size = head[0], int.from_bytes(head[1:], "big")
    if (kind == EXIT and size == 4) or (kind in (STDOUT, STDERR) and 0 < size <= MAX_FRAME_BYTES):
        return size
    raise ValueError("this is not the agent's protocol")
