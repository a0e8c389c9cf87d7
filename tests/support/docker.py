"""What the Docker adapter's tests share: an engine that cleans up, container specs, a relay that can be cut."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.base import Engine
from jupyter_mlenv.engines.model import ContainerSpec

E = TypeVar("E", bound=Engine)

DOCKER_SOCKET = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
"""Of the engine that the tests use."""


@asynccontextmanager
async def cleaning(engine: E, owner: str) -> AsyncIterator[E]:
    """The engine; afterwards everything on it with the session's owner label is removed, and it is closed."""
    mine = {f"{LABEL}.owner": owner}
    try:
        yield engine
    finally:
        for container in await engine.list(mine):
            await engine.remove(container.id)
        for image in await engine.images(mine):
            for tag in image.tags or (image.id,):
                await engine.remove_image(tag)
        await engine.close()


def make_spec(owner: str, image: str, name: str, command: tuple[str, ...], **fields: Any) -> ContainerSpec:
    """A container of this session; `name` is unique within it."""
    labels = {f"{LABEL}.owner": owner, f"{LABEL}.id": name, **fields.pop("labels", {})}
    return ContainerSpec(
        name=f"mlenv-{owner}-{name}", image=image, command=command, labels=labels, network="none", **fields
    )


class Relay:
    """Passes bytes between clients and an upstream server; counts requests, can be slow, can be cut and come back."""

    def __init__(
        self, upstream: str | tuple[str, int], *, rate: int | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._upstream = upstream
        self._rate = rate  # bytes a second from upstream
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._tasks)

    async def listen_unix(self, path: Path) -> str:
        self._server = await asyncio.start_unix_server(self._serve, str(path))
        return f"unix://{path}"

    async def listen_tcp(self, host: str = "127.0.0.1") -> int:
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=self._tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def cut(self) -> None:
        """Stop listening and drop every connection, as an engine that is restarted does."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(self._upstream, str):
            up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        else:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        there = asyncio.create_task(self._pump(reader, up_writer, None))
        back = asyncio.create_task(self._pump(up_reader, writer, self._rate))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            up_writer.close()
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int | None) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536 if rate is None else max(1, rate // 20)):
                self.requests += data.count(b" HTTP/1.1\r\n") if rate is None else 0
                writer.write(data)
                await writer.drain()
                if rate is not None:
                    await asyncio.sleep(len(data) / rate)
