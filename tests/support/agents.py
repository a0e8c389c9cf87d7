"""A real agent in a temporary run directory, and the small services that it starts in the tests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jupyter_mlenv.agent
from jupyter_mlenv.agent_client import AgentClient
from jupyter_mlenv.agent_client.routes import TcpRoute, UnixRoute

PACKAGE = Path(jupyter_mlenv.agent.__file__).parent

HTTP_SERVER = """
import http.server, os, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(404 if "missing" in self.path else 500 if "broken" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "-"

class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

where = sys.argv[1]
print("serving on", where, *sys.argv[2:], flush=True)
server = Unix(where, Handler) if "/" in where else http.server.ThreadingHTTPServer(("127.0.0.1", int(where)), Handler)
server.serve_forever()
"""
"""Serves HTTP on the socket or port that is its first argument; answers with the path; prints its arguments."""

ON_SOCKET = [sys.executable, "-c", HTTP_SERVER, "{socket}"]
ON_PORT = [sys.executable, "-c", HTTP_SERVER, "{port}"]


def lay_out(folder: Path) -> Path:
    """Make a folder as in a container: the package beside the program that starts it, which is returned."""
    start = folder / "start.py"
    if not start.exists():
        folder.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / "start.py", start)
        (folder / "mlenv_agent").symlink_to(PACKAGE)
    return start


@dataclass
class RunningAgent:
    python: str
    client: AgentClient
    run_dir: Path
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def output(self) -> Path:
        """What the agent and, through it, the services print."""
        return self.run_dir / "output"

    def start(self, stderr: int | None = None) -> None:
        route = self.client.route
        start = lay_out(self.run_dir / "opt")
        command = [self.python, "-E", "-s", "-S", "-u", str(start), "--run-dir", str(self.run_dir)]
        command += ["--token", str(self.run_dir / "token")]
        command += ["--port", str(route.port)] if isinstance(route, TcpRoute) else []
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=stderr or log)

    def failed(self) -> bool:
        """Whether the agent itself, not a service, has printed a traceback."""
        return "\nTraceback" in "\n" + self.output.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, as the engine does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextlib.asynccontextmanager
async def agent(
    python: str = sys.executable,
    *,
    tcp: bool = False,
    ready: bool = True,
    files: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningAgent]:
    """An agent that answers, ended with everything it started; `files` lie beside it."""
    # Not pytest's tmp_path: its name can be too long for a socket inside it.
    run_dir = Path(tempfile.mkdtemp(prefix="mlenv-"))
    token = secrets.token_urlsafe(16)
    (run_dir / "token").write_text(token)
    route = TcpRoute("127.0.0.1", free_port()) if tcp else UnixRoute(str(run_dir / "agent.sock"))
    running = RunningAgent(python, AgentClient(route, token), run_dir)
    lay_out(run_dir / "opt")
    for name, text in (files or {}).items():
        (run_dir / "opt" / name).write_text(text)
    running.start()
    try:
        if ready:
            await running.client.ready(20)
        yield running
    finally:
        try:
            running.stop()
        finally:
            running.process.kill()
            running.process.wait()
            shutil.rmtree(run_dir, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@functools.cache
def interpreters() -> list[str]:
    """Interpreters of this machine that the agent must run on, oldest first; at least the one that runs the tests."""
    found = []
    for minor in range(8, 16):
        path = shutil.which(f"python3.{minor}")
        if path:
            # It may be a shim of pyenv, which is there whether or not it can run, and wants to be told what to run.
            command = [path, "-I", "-S", "-c", "import sys; print(sys.executable)"]
            env = {**os.environ, "PYENV_VERSION": f"3.{minor}"}
            found += subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout.split()[:1]
    return found or [sys.executable]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    for _ in range(2000):
        if not alive(pid):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


async def raw(running: RunningAgent, data: bytes) -> bytes:
    """All that the agent answers to these bytes."""
    assert isinstance(running.client.route, UnixRoute)
    reader, writer = await asyncio.open_unix_connection(running.client.route.path)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.write_eof()
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(reader.read(65536), 20):
                answer += piece
        return answer
    finally:
        writer.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
