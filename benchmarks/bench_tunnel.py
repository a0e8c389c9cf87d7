"""A port inside a container through the agent, against the same server reached without it.

Four ways to one HTTP server: its unix socket, its TCP port, the tunnel whose socket the agent hands over (SCM_RIGHTS),
and the tunnel whose bytes pass through the agent (the agent reached by TCP). Interleaved; medians; ratios against the
direct TCP port. No engine is needed: agent and server run on this machine, so what is measured is the tunnel.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jupyter_mlenv.agent_client import AgentClient  # noqa: E402 (found by the line above, also when run as a script)
from jupyter_mlenv.agent_client.routes import Route, TcpRoute, UnixRoute, connect  # noqa: E402
from tests.support.agents import lay_out  # noqa: E402

ROUNDS = 7
REQUESTS = 1500
CONNECTIONS = 200
SIZE = 200 << 20

SERVER = """
import asyncio, sys
BODY = bytes(1024)
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n"

async def serve(reader, writer):
    try:
        while True:
            line = (await reader.readuntil(b"\\r\\n\\r\\n")).split()
            size = int(line[1].rpartition(b"/")[2] or 0)
            if line[0] == b"PUT":
                while size:
                    size -= len(await reader.read(min(size, 1 << 18)))
            if line[0] == b"PUT" or size == 0:
                writer.write(HEAD % len(BODY) + BODY)
            else:
                writer.write(HEAD % size)
                piece = bytes(1 << 18)
                for start in range(0, size, len(piece)):
                    writer.write(piece[: size - start])
                    await writer.drain()
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    await asyncio.start_unix_server(serve, sys.argv[1], limit=1 << 18)
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[2]), limit=1 << 18)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def requests(route: Route) -> float:
    """1 KB requests per second on one connection, one after the other."""
    reader, writer = await asyncio.open_connection(sock=await connect(route))
    began = time.perf_counter()
    for _ in range(REQUESTS):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1024)
    taken = time.perf_counter() - began
    writer.close()
    return REQUESTS / taken


async def connections(route: Route) -> float:
    """New connections per second, each with one request."""
    began = time.perf_counter()
    for _ in range(CONNECTIONS):
        reader, writer = await asyncio.open_connection(sock=await connect(route))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1024)
        writer.close()
    return CONNECTIONS / (time.perf_counter() - began)


async def download(route: Route) -> float:
    """MB per second towards the client."""
    loop, sock, buffer = asyncio.get_running_loop(), await connect(route), bytearray(1 << 18)
    began = time.perf_counter()
    await loop.sock_sendall(sock, b"GET /%d HTTP/1.1\r\n\r\n" % SIZE)
    left = SIZE
    while left > 0:
        left -= await loop.sock_recv_into(sock, buffer)
    taken = time.perf_counter() - began
    sock.close()
    return SIZE / taken / 1e6


async def upload(route: Route) -> float:
    """MB per second towards the server."""
    loop, sock = asyncio.get_running_loop(), await connect(route)
    piece = bytes(1 << 18)
    began = time.perf_counter()
    await loop.sock_sendall(sock, b"PUT /%d HTTP/1.1\r\n\r\n" % SIZE)
    for _ in range(SIZE // len(piece)):
        await loop.sock_sendall(sock, piece)
    await loop.sock_recv(sock, 4096)
    taken = time.perf_counter() - began
    sock.close()
    return SIZE / taken / 1e6


MEASURES: dict[str, Callable[[Route], Coroutine[None, None, float]]] = {
    "1 KB requests /s": requests,
    "connections /s": connections,
    "download MB/s": download,
    "upload MB/s": upload,
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def compare(ways: dict[str, Route]) -> None:
    """Print a table: the median of every measure for every way, and its ratio to direct TCP."""
    results: dict[tuple[str, str], list[float]] = {}
    for name, measure in MEASURES.items():
        for _ in range(ROUNDS):
            for way, route in ways.items():
                results.setdefault((name, way), []).append(await measure(route))
    print(f"{'':26}" + "".join(f"{name:>26}" for name in MEASURES))
    for way in ways:
        cells = []
        for name in MEASURES:
            median = statistics.median(results[name, way])
            ratio = median / statistics.median(results[name, "direct TCP"])
            cells.append(f"{median:15.0f} ({ratio:5.2f}x)")
        print(f"{way:26}" + "".join(f"{cell:>26}" for cell in cells))


def main() -> None:
    """Start a server and two agents, compare, end them."""
    folder = Path(tempfile.mkdtemp(prefix="mlenv-bench-"))
    token, ports = secrets.token_hex(8), [free_port(), free_port()]
    (folder / "token").write_text(token)
    agent = [sys.executable, "-E", "-s", "-S", str(lay_out(folder / "opt")), "--run-dir", str(folder)]
    agent += ["--token", str(folder / "token")]
    commands = [agent, [*agent, "--port", str(ports[1])]]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "x.sock"), str(ports[0])], stdout=subprocess.PIPE
    )
    agents = [subprocess.Popen(command) for command in commands]
    clients = [
        AgentClient(UnixRoute(str(folder / "agent.sock")), token),
        AgentClient(TcpRoute("127.0.0.1", ports[1]), token),
    ]

    async def run() -> None:
        for client in clients:
            await client.ready(20)
        await compare(
            {
                "direct unix socket": UnixRoute(str(folder / "x.sock")),
                "direct TCP": TcpRoute("127.0.0.1", ports[0]),
                "tunnel, handed over": clients[0].tunnel(f"127.0.0.1:{ports[0]}"),
                "tunnel, through the agent": clients[1].tunnel(f"127.0.0.1:{ports[0]}"),
            }
        )

    try:
        assert server.stdout is not None
        server.stdout.readline()
        print(f"tunnels, {ROUNDS} rounds, {os.cpu_count()} cores; ratios to direct TCP")
        asyncio.run(run())
    finally:
        for process in (*agents, server):
            process.terminate()
            process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
