"""A real Jupyter server in a process of its own, with the proxy mounted over services that a test listens for.

The server's resolver looks for sockets in a folder: `<id>.<endpoint>.<anything>.sock`, the last one by name counts, or
`<id>.<endpoint>.tcp`, which holds a host and a port. The ids `stopped` and `broken` are special.
"""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path

from tests.support.repository import ROOT


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class OuterServer:
    """Started by `start`; `login()` gives the cookies that a browser has after logging in."""

    def __init__(self, folder: Path, base_url: str = "/", arguments: Sequence[str] = (), scheme: str = "http") -> None:
        self.folder = folder
        self.base_url = base_url
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.scheme = scheme
        self.sockets = folder / "s"
        self.sockets.mkdir()
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    def path(self, id: str, endpoint: str, rest: str = "/") -> str:
        """The path and query of a proxied request."""
        return f"{self.base_url}mlenv/envs/{id}/{endpoint}{rest}"

    def url(self, id: str, endpoint: str, rest: str = "/") -> str:
        return self.origin + self.path(id, endpoint, rest)

    def start(self, extensions: Sequence[str] = ("tests.support.outerext",), *, tuned: bool = False) -> None:
        """Returns when it answers. It sees no configuration of this machine and writes nothing outside its folder.

        `tuned` flips the switches of `server/performance.py`, as the real extension does.
        """
        enabled = ", ".join(f'"{name}": True' for name in extensions)
        command = [
            *(sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1"),
            *(f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={self.base_url}"),
            *(f"--IdentityProvider.token={self.token}", "--ServerApp.allow_unauthenticated_access=False"),
            *(f"--ServerApp.root_dir={self.folder}", f"--ServerApp.jpserver_extensions={{{enabled}}}"),
            *("--allow-root", *self._arguments),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        environment |= {
            "HOME": str(self.folder),
            "JUPYTER_NO_CONFIG": "1",
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "MLENV_TEST_SOCKETS": str(self.sockets),
            "MLENV_TEST_TUNED": "1" if tuned else "",
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 180
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"The Jupyter server did not start:\n{self.log()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        # In words: jupyter_server listens for a moment to see whether the port is free, long before it answers.
        connection = (
            http.client.HTTPSConnection(self.host, timeout=60, context=ssl._create_unverified_context())
            if self.scheme == "https"
            else http.client.HTTPConnection(self.host, timeout=60)
        )
        with closing(connection):
            try:
                connection.request("GET", f"{self.base_url}api")
                return connection.getresponse().status > 0
            except (OSError, http.client.HTTPException):
                return False

    def tune(self, on: bool) -> None:
        """With `tuned`: switch it on and off again, since a benchmark's peer runs in servers that do not have it."""
        os.kill(self.pid, signal.SIGUSR1 if on else signal.SIGUSR2)
        time.sleep(0.3)

    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "server.log").read_text(errors="replace")

    def login(self) -> dict[str, str]:
        """Log in as a browser does, with the token once; returns the cookies."""
        request = urllib.request.Request(f"{self.origin}{self.base_url}api/status?token={self.token}")
        with urllib.request.urlopen(request) as answer:
            cookies: SimpleCookie = SimpleCookie()
            for value in answer.headers.get_all("Set-Cookie") or []:
                cookies.load(value)
        return {name: morsel.coded_value for name, morsel in cookies.items()}

    def starts(self) -> list[str]:
        """`<id> <endpoint>` for every time the server asked for a service to be started."""
        file = self.sockets / "starts.log"
        return file.read_text().splitlines() if file.exists() else []

    def memory(self) -> int:
        """Resident memory of the server, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("The server has no resident memory.")

    def stop(self) -> None:
        """Ends the process and waits for it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
