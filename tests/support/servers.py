"""A Jupyter server with the extension, in a process of its own, and clients of its kernels API."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.kernels import Home
from tests.support.waiting import eventually, free_port

EXTENSIONS = {
    "jupyter_mlenv": True,
    # Installed beside it for other tests: importing them takes longer than all the rest of a start.
    **dict.fromkeys(("jupyter_lsp", "jupyter_server_proxy", "jupyterlab", "notebook", "notebook_shim"), False),
}


class Server:
    """The server, and a session that may use it. It can be killed, and started again at the same address."""

    def __init__(self, home: Home, folder: Path, *options: str) -> None:
        self.home, self.folder = home, folder
        self.port, token = free_port(), uuid.uuid4().hex
        self.url = f"http://127.0.0.1:{self.port}/"
        self.command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        self.command += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        self.command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
        self.command += [f"--ServerApp.jpserver_extensions={EXTENSIONS}", *options]
        self.session = aiohttp.ClientSession(headers={"Authorization": f"token {token}"})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.home.folder / "server.log").read_text(errors="replace")

    async def begin(self) -> None:
        """Start the process; it answers then."""
        with (self.home.folder / "server.log").open("ab") as log:
            self.process = process = subprocess.Popen(  # noqa: ASYNC220
                self.command, env=os.environ | dict(self.home.environment), stdout=log, stderr=log, cwd=self.folder
            )

        async def answers() -> bool:
            assert process.poll() is None, self.log
            try:
                await self.call("GET", "api/status")
            except aiohttp.ClientError as error:
                raise OSError(error) from error
            return True

        await eventually(answers, "the server answers", timeout=180)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal and wait for the end."""
        if self.process is not None:
            self.process.send_signal(how)
            await asyncio.to_thread(self.process.wait, 60)
            self.process = None

    async def call(self, verb: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with self.session.request(verb, self.url + path, json=body) as answer:
            text = await answer.text()
            assert answer.status == status, f"{verb} {path}: {answer.status} {text}"
            return json.loads(text) if text else None

    async def menu(self) -> dict[str, Any]:
        specs: dict[str, Any] = (await self.call("GET", "api/kernelspecs"))["kernelspecs"]
        return {name: spec["spec"] for name, spec in specs.items() if name.startswith("mlenv-")}

    async def start(self, name: str, path: str = "") -> str:
        kernel = await self.call("POST", "api/kernels", {"name": name, "path": path}, 201)
        return str(kernel["id"])

    @asynccontextmanager
    async def channels(self, id: str) -> AsyncIterator[Channels]:
        url = f"{self.url}api/kernels/{id}/channels?session_id={uuid.uuid4()}"
        async with self.session.ws_connect(url, max_msg_size=0) as socket:
            yield Channels(socket)


class Channels:
    """A kernel's channels, as a browser has them."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, kind: str, content: dict[str, Any], channel: str = "shell") -> str:
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": kind, "session": "test", "username": "", "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
        await self.socket.send_str(json.dumps(message))
        return id

    async def execute(self, code: str) -> str:
        return await self.send(
            "execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        )

    async def until(self, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = await asyncio.wait_for(self.socket.receive(), 180)
            assert message.type == aiohttp.WSMsgType.TEXT, message
            content: dict[str, Any] = json.loads(message.data)
            if check(content):
                return content

    async def says(self, code: str) -> str:
        """What it printed, or the name of its error; output and reply come on two channels, in any order."""
        id = await self.execute(code)
        said = ""

        def idle(message: dict[str, Any]) -> bool:
            nonlocal said
            if message["parent_header"].get("msg_id") != id or message["channel"] != "iopub":
                return False
            said += message["content"].get("text", "") + message["content"].get("ename", "")
            return message["content"].get("execution_state") == "idle"

        await self.until(idle)
        return said.strip()


@asynccontextmanager
async def serving(home: Home, folder: Path, *options: str) -> AsyncIterator[Server]:
    """A running server whose root directory is `folder`; ended at the end."""
    server = Server(home, folder, *options)
    try:
        await server.begin()
        yield server
    finally:
        await server.end()
        await server.session.close()
