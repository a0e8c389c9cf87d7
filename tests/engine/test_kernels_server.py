"""Kernels through a Jupyter server's own kernel API, WebSocket channels included, and the kernel menu it keeps."""

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
import docker
import pytest

from jupyter_mlenv.environments import Environments
from tests.engine.environment_support import Named
from tests.support.kernels import Home
from tests.support.waiting import eventually, free_port

HOST = 'extends = "host"\ntitle = "Box"\n'


class Server:
    """A Jupyter server with the extension, in a process of its own, and a session that may use it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

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
            message = await asyncio.wait_for(self.socket.receive(), 60)
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


@pytest.fixture
async def server(home: Home, workspace: Path) -> AsyncIterator[Server]:
    port, token = free_port(), uuid.uuid4().hex
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={workspace}", f"--IdentityProvider.token={token}"]
    command += ["--ServerApp.jpserver_extensions={'jupyter_mlenv': True}", "--KernelRestarter.restart_limit=5"]
    with (home.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220
            command, env=os.environ | dict(home.environment), stdout=log, stderr=log, cwd=workspace
        )
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"token {token}"}) as session:
            made = Server(session, f"http://127.0.0.1:{port}/")

            async def answers() -> bool:
                assert process.poll() is None, (home.folder / "server.log").read_text()
                try:
                    await made.call("GET", "api/status")
                except aiohttp.ClientError as error:
                    raise OSError(error) from error
                return True

            await eventually(answers, "the server answers", timeout=60)
            yield made
    finally:
        process.send_signal(signal.SIGINT)
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    return home.add(named("box", HOST + ("[kernel]\nfork = false\n" if request.param == "executed" else "")))


async def test_the_whole_life_of_a_kernel(
    box: str, server: Server, workspace: Path, environments: Environments
) -> None:
    (workspace / "sub").mkdir()
    id = await server.start(box, "sub")
    async with server.channels(id) as channels:
        assert await channels.says("import os; print(os.getcwd())") == str(workspace / "sub")

        request = await channels.execute("print(input('name? '))")
        asked = await channels.until(lambda m: m["msg_type"] == "input_request")
        assert asked["content"]["prompt"] == "name? "
        await channels.send("input_reply", {"value": "Ada"}, "stdin")
        told = await channels.until(lambda m: m["msg_type"] == "stream" and m["parent_header"]["msg_id"] == request)
        assert told["content"]["text"] == "Ada\n"

        await channels.execute("print('busy', flush=True)\nwhile True: pass")
        await channels.until(lambda m: m["msg_type"] == "stream" and "busy" in m["content"]["text"])
        await server.call("POST", f"api/kernels/{id}/interrupt", status=204)
        error = await channels.until(lambda m: m["msg_type"] == "error")
        assert error["content"]["ename"] == "KeyboardInterrupt"

        await channels.says("x = 1; print('set')")
        await server.call("POST", f"api/kernels/{id}/restart")
        assert await channels.says("print(x)") == "NameError"

        await channels.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        await channels.until(lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "restarting")
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"
    await server.call("DELETE", f"api/kernels/{id}", status=204)
    [environment] = await environments.list()
    assert [k for k in await (await environments.agent(environment.id)).kernels() if k.state != "exited"] == []
    assert sorted(os.listdir(environment.run_dir)) == ["agent.sock", "token"]


async def test_a_large_output_arrives(named: Named, home: Home, server: Server) -> None:
    id = await server.start(home.add(named("box", HOST)))
    async with server.channels(id) as channels:
        await channels.execute(
            "from IPython.display import display; display({'text/plain': 'x' * 200_000_000}, raw=True); 0"
        )
        data = await channels.until(lambda m: m["msg_type"] == "display_data")
        assert len(data["content"]["data"]["text/plain"]) == 200_000_000
    await server.call("DELETE", f"api/kernels/{id}", status=204)


async def test_what_is_wrong_reaches_the_browser(named: Named, home: Home, server: Server) -> None:
    preset = named("absent", '[image]\nreference = "mlenv-test/absent:1"\n')
    body = {"path": "a.ipynb", "type": "notebook", "name": "a", "kernel": {"name": home.add(preset)}}
    answer = await server.call("POST", "api/sessions", body, 500)
    assert f"jupyter mlenv start {preset}" in answer["message"]


async def test_the_menu_follows_the_images(named: Named, home: Home, server: Server, owner: str) -> None:
    await eventually(lambda: _has(server, "mlenv-host"), "the host's Python is in the menu")
    assert (await server.menu())["mlenv-host"]["display_name"] == "This machine's Python (mlenv)"
    image = f"mlenv/{owner}-small"
    name = "mlenv-" + named("small", f'title = "Small"\n[image]\nreference = "{image}:1"\n')
    assert not await _has(server, name)
    client = docker.APIClient(version="auto")
    try:
        client.import_image_from_data(b"\0" * 1024, repository=image, tag="1")
        await eventually(lambda: _has(server, name), "a ready image brings its kernel")
    finally:
        client.remove_image(f"{image}:1")
        client.close()
    await eventually(lambda: _lacks(server, name), "its kernel goes with an image")
    assert await _has(server, "mlenv-host")


async def _has(server: Server, name: str) -> bool:
    return name in await server.menu()


async def _lacks(server: Server, name: str) -> bool:
    return name not in await server.menu()
