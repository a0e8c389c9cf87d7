"""An engine's socket that behaves as badly as a test wants: silent, slow, refusing, or answering with garbage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24", "Os": "linux", "Arch": "amd64"}
INFO = {"OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "MemTotal": 1 << 30, "DockerRootDir": "/var/lib/docker"}

Send = Callable[[bytes], Awaitable[None]]
Answer = Callable[[str, Send], Awaitable[None]]


@dataclass
class FakeDocker:
    """`answers` by the beginning of "METHOD /path" without the version; what is not there is answered as an engine
    with nothing on it does. `requests` are those that came, `delay` in seconds comes before each answer."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    delay: float = 0.0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.splitlines()[1:])}
                if fields.get("transfer-encoding") == "chunked":
                    await self._skip_chunks(reader)
                await reader.readexactly(int(fields.get("content-length", 0)))
                method, target, _ = head.split(" ", 2)
                path = target.split("?")[0]
                path = "/" + path.split("/", 2)[2] if path.startswith("/v1") else path
                self.requests.append(f"{method} {path}")
                await asyncio.sleep(self.delay)
                answer = next((a for key, a in self.answers.items() if f"{method} {path}".startswith(key)), usual)
                await answer(path, send)
                if answer is not usual:
                    break
        writer.close()

    async def _skip_chunks(self, reader: asyncio.StreamReader) -> None:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()


async def usual(path: str, send: Send) -> None:
    """What an engine with nothing on it answers."""
    if path == "/events":
        await send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.Event().wait()
    known: dict[str, Any] = {"/version": VERSION, "/info": INFO, "/_ping": "OK"}
    body = json.dumps(known.get(path, [] if path.endswith("/json") else {})).encode()
    await send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n")
    await send(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


async def silent(_: str, send: Send) -> None:
    """Take the request, and say nothing for ever."""
    await asyncio.Event().wait()


def body(status: str, data: bytes) -> Answer:
    """This body, and the end of the connection."""

    async def answer(_: str, send: Send) -> None:
        await send(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    return answer


def stream(pieces: Callable[[], AsyncIterator[bytes]]) -> Answer:
    """Pieces as chunks."""

    async def answer(_: str, send: Send) -> None:
        await send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in pieces():
            await send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await send(b"0\r\n\r\n")

    return answer


@asynccontextmanager
async def fake_docker(folder: Path) -> AsyncIterator[FakeDocker]:
    """One that listens on a unix socket in this folder, in the running loop."""
    path = folder / "fake.sock"
    fake = FakeDocker(f"unix://{path}")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await fake.handle(reader, writer)

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield fake
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
