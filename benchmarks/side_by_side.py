"""One real Jupyter server with two doors to one service: ours and jupyter-server-proxy's. And a light HTTP client."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.outer import ROOT, OuterServer

OURS = "jupyter_mlenv"
PEER = "jupyter-server-proxy"
STOCK = "jupyter-server-proxy, stock"
"""The peer as its users have it: without what our extension does for the whole server (`server/performance.py`)."""


@dataclass(frozen=True)
class Doors:
    """The server, and the TCP ports of the services in `backend.py`."""

    server: OuterServer
    ports: dict[str, str]
    cookie: str

    def path(self, door: str, service: str, name: str) -> str:
        """The path that leads through this door to something of the service."""
        if door == OURS:
            return self.server.path("env", service, f"/{name}")
        return f"{self.server.base_url}proxy/{self.ports[service]}/{name}"

    def enter(self, side: str) -> str:
        """Bring the server into the state in which this side is measured; returns the door's name."""
        self.server.tune(side != STOCK)
        return OURS if side == OURS else PEER

    def head(self, path: str, *more: str, method: str = "GET") -> bytes:
        """A request as the browser sends it, with what cookie and origin a page of the server has."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.server.host}",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140",
            "Accept: */*",
            "Accept-Language: en-US,en;q=0.9",
            f"Origin: {self.server.origin}",
            f"Referer: {self.server.origin}{path}",
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: cors",
            f"Cookie: {self.cookie}",
            *more,
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def doors() -> Iterator[Doors]:
    """Starts the service and the server; ends both."""
    folder = Path(tempfile.mkdtemp(prefix="mlenv-bench-", dir="/tmp"))
    server = OuterServer(folder, "/user/alice%40b/")
    command = [sys.executable, "-m", "benchmarks.backend", str(server.sockets)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as backend:
        try:
            assert backend.stdout is not None
            ports = dict(zip(("app", "echo", "deflate"), backend.stdout.readline().split(), strict=True))
            server.start(["jupyter_server_proxy", "tests.support.outerext"], tuned=True)
            cookies = "; ".join(f"{name}={value}" for name, value in server.login().items())
            yield Doors(server, ports, cookies)
        finally:
            server.stop()
            backend.terminate()
            shutil.rmtree(folder)


class Client(asyncio.Protocol):
    """One keep-alive connection. `ask` sends a request and returns when the last byte of the answer is here."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._left = -1
        self._chunked = False
        self._done: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.status = 0

    @classmethod
    async def connect(cls, server: OuterServer) -> Client:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, "127.0.0.1", server.port))[1]

    async def ask(self, request: bytes, body: int = 0) -> None:
        """Send the head and this many zero bytes. Raises ConnectionError; RuntimeError if the status is not 200."""
        self._buffer, self._left, self._chunked = b"", -1, False
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        block = bytes(1 << 18)
        while body and not self.transport.is_closing():
            self.transport.write(block[:body])
            body -= min(body, len(block))
            await self._writable.wait()
        await self._done
        if self.status != 200:
            raise RuntimeError(f"status {self.status}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._left < 0 and not self._chunked:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.status = int(self._buffer[9:12])
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self._buffer[: end + 2])
            data, self._buffer = self._buffer[end + 4 :], b""
            self._chunked = length is None
            self._left = int(length[1]) if length else 0
        if self._chunked:
            self._buffer = (self._buffer + data)[-7:]
            finished = self._buffer.endswith(b"0\r\n\r\n")
        else:
            self._left -= len(data)
            finished = self._left == 0
        if finished and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))


class PeakMemory:
    """The most resident memory that the server had inside the `with` block, beyond what it had before, in MB."""

    def __init__(self, server: OuterServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self.growth = 0.0

    def __enter__(self) -> PeakMemory:
        before = self._server.memory()

        def watch() -> None:
            peak = before
            while not self._stop.wait(0.02):
                peak = max(peak, self._server.memory())
            self.growth = (peak - before) / 1e6

        self._thread = threading.Thread(target=watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def cpu_seconds(server: OuterServer) -> float:
    """Processor time that the server has used: what a machine with other work on it cannot blur."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def verdict(value: float, target: float, *, at_least: bool) -> str:
    """One column of a report."""
    met = value >= target if at_least else value <= target
    return f"{'>=' if at_least else '<='} {target:g}x  {'met' if met else 'MISSED'}"


def now() -> float:
    return time.perf_counter()
