"""A service that answers with whatever bytes a test writes, and remembers what reached it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.inner import serve_raw

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@dataclass
class Hostile:
    """`received` is everything that came, of all connections; `connections` counts them."""

    received: bytearray = field(default_factory=bytearray)
    connections: int = 0


@asynccontextmanager
async def hostile(path: Path, *answers: bytes, pieces: Sequence[bytes] = ()) -> AsyncIterator[Hostile]:
    """On a unix socket: each request's head gets the next of `answers`, the last one from then on.

    A connection stays open. With `pieces`, these are sent one by one behind the answer.
    """
    seen = Hostile()
    left = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                seen.received += await reader.readuntil(b"\r\n\r\n")
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                for piece in pieces:
                    await writer.drain()
                    await asyncio.sleep(0)
                    writer.write(piece)
                await writer.drain()
                if seen.received.startswith(b"POST"):
                    seen.received += await reader.read(65536)

    async with serve_raw(path, talk):
        yield seen


def answer(*lines: str, status: str = "200 OK", body: bytes = b"ok") -> bytes:
    """An answer with these header lines, whatever they hold."""
    head = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
