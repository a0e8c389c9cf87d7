"""A Jupyter server that was killed and started again goes on with its kernels and their notebooks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.environments import Environments
from tests.support.environments import Named
from tests.support.kernels import Home, Make
from tests.support.servers import Server, serving
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'


@pytest.fixture
def home(make_home: Make) -> Home:
    """Kernels wait longer than a busy machine takes to start several servers."""
    return make_home(kernel_grace=600.0)


@pytest.fixture
async def server(home: Home, workspace: Path) -> AsyncIterator[Server]:
    async with serving(home, workspace) as running:
        yield running


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    return home.add(named("box", HOST + ("[kernel]\nfork = false\n" if request.param == "executed" else "")))


async def opened(server: Server, kernel: str, path: str = "a.ipynb") -> dict[str, Any]:
    """The session of a notebook, as JupyterLab opens one."""
    body = {"path": path, "type": "notebook", "name": path, "kernel": {"name": kernel}}
    session: dict[str, Any] = await server.call("POST", "api/sessions", body, 201)
    return session


async def died(server: Server, environments: Environments) -> None:
    """Kill the server, and wait until nobody is connected to its kernels."""
    await server.end(signal.SIGKILL)
    [environment] = await environments.list()
    agent = await environments.agent(environment.id)

    async def alone() -> bool:
        return all(not kernel.holders for kernel in await agent.kernels.list())

    await eventually(alone, "nobody is connected to the kernels")


async def test_notebooks_go_on_where_they_were(box: str, server: Server, environments: Environments) -> None:
    session = await opened(server, box)
    other = await opened(server, box, "b.ipynb")
    await server.call("PATCH", f"api/sessions/{other['id']}", {"path": "renamed.ipynb", "name": "renamed.ipynb"})
    id = session["kernel"]["id"]
    async with server.channels(id) as channels:
        await channels.says("x = 42")

    await died(server, environments)
    await server.begin()

    sessions = {one["id"]: one for one in await server.call("GET", "api/sessions")}
    assert {id: one["path"] for id, one in sessions.items()} == {
        session["id"]: "a.ipynb",
        other["id"]: "renamed.ipynb",
    }
    assert sessions[session["id"]]["kernel"]["id"] == id
    assert sessions[session["id"]]["kernel"]["name"] == box
    async with server.channels(id) as channels:
        assert await channels.says("print(x)") == "42"
        await channels.execute("print('busy', flush=True)\nwhile True: pass")
        await channels.until(lambda m: m["msg_type"] == "stream" and "busy" in m["content"]["text"])
        await server.call("POST", f"api/kernels/{id}/interrupt", status=204)
        await channels.until(lambda m: m["msg_type"] == "error")
        await server.call("POST", f"api/kernels/{id}/restart")
    async with server.channels(id) as channels:
        assert await channels.says("print(x)") == "NameError"
        assert "a.ipynb" in await channels.says("import os; print(os.environ['JPY_SESSION_NAME'])")
    # A kernel that was taken over, and restarted, can be taken over once more.
    await died(server, environments)
    await server.begin()
    assert len(await server.call("GET", "api/sessions")) == 2

    for one in (session, other):
        await server.call("DELETE", f"api/sessions/{one['id']}", status=204)
    [environment] = await environments.list()
    assert await (await environments.agent(environment.id)).kernels.list() == []
    assert [name for name in os.listdir(server.home.folder / "runtime") if name.startswith("kernel-")] == []


async def test_a_kernel_that_crashes_afterwards_is_started_again(
    named: Named, home: Home, server: Server, environments: Environments
) -> None:
    id = (await opened(server, home.add(named("box", HOST))))["kernel"]["id"]
    await died(server, environments)
    await server.begin()
    async with server.channels(id) as channels:
        await channels.says("1")
        await channels.execute("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        message = await channels.until(lambda message: "jupyter-mlenv" in message["metadata"])
        assert "SIGSEGV" in message["content"]["text"]
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"


async def test_servers_of_other_folders_leave_them_alone(
    named: Named, home: Home, server: Server, environments: Environments, tmp_path: Path
) -> None:
    id = (await opened(server, home.add(named("box", HOST))))["kernel"]["id"]
    await died(server, environments)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with serving(home, elsewhere) as other:
        assert await other.call("GET", "api/kernels") == []
    async with serving(home, server.folder, "--MlenvConfig.take_over_kernels=False") as other:
        assert await other.call("GET", "api/kernels") == []
    await server.begin()
    assert [kernel["id"] for kernel in await server.call("GET", "api/kernels")] == [id]


async def test_a_note_that_was_changed_inside_is_not_believed(
    named: Named, home: Home, server: Server, environments: Environments
) -> None:
    id = (await opened(server, home.add(named("box", HOST))))["kernel"]["id"]
    [environment] = await environments.list()
    agent = await environments.agent(environment.id)
    [kernel] = await agent.kernels.list()
    content = json.loads(kernel.note["text"])
    assert [session["path"] for session in content["sessions"]] == ["a.ipynb"]
    await died(server, environments)
    text = json.dumps({**content, "kernel_name": "python3"})
    await agent.kernels.note(id, {**kernel.note, "text": text})
    await server.begin()
    assert await server.call("GET", "api/sessions") == []
    assert await server.call("GET", "api/kernels") == []


async def test_what_somebody_else_uses_is_not_taken(
    named: Named, home: Home, server: Server, environments: Environments
) -> None:
    id = (await opened(server, home.add(named("box", HOST))))["kernel"]["id"]
    [environment] = await environments.list()
    agent = await environments.agent(environment.id)
    held = agent.kernels.hold(id)
    assert (await anext(held))["event"] == "held"
    await server.end(signal.SIGKILL)
    await server.begin()
    assert await server.call("GET", "api/kernels") == []
    await held.aclose()  # type: ignore[attr-defined]
