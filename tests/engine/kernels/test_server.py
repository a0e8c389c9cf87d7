"""Kernels through a Jupyter server's own kernel API, WebSocket channels included, and the kernel menu it keeps."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.environments import Environments
from tests.support.environments import Named, run_files, start
from tests.support.kernels import Home
from tests.support.leftovers import connect
from tests.support.servers import Server, serving
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'


@pytest.fixture
async def server(home: Home, workspace: Path) -> AsyncIterator[Server]:
    async with serving(home, workspace, "--KernelRestarter.restart_limit=5") as running:
        yield running


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
    async with server.channels(id) as channels:  # as a browser does after a restart
        assert await channels.says("print(x)") == "NameError"

        await channels.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        await channels.until(lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "restarting")
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"
    await server.call("DELETE", f"api/kernels/{id}", status=204)
    [environment] = await environments.list()
    assert [k for k in await (await environments.agent(environment.id)).kernels.list() if k.state != "exited"] == []
    assert run_files(environment.run_dir) == ["agent.sock", "token"]


async def test_nothing_in_the_server_is_left_of_kernels_that_were_shut_down(
    named: Named, home: Home, server: Server
) -> None:
    """No thread and no descriptor, whether the browser leaves before or after the kernel's end."""
    box = home.add(named("box", HOST))

    def usage() -> list[int]:
        assert server.process is not None
        return [len(os.listdir(f"/proc/{server.process.pid}/{what}")) for what in ("task", "fd")]

    async def one(*, first: str) -> None:
        id = await server.start(box)
        async with server.channels(id) as channels:
            assert await channels.says("print(1)") == "1"
            if first == "kernel":
                await server.call("DELETE", f"api/kernels/{id}", status=204)
        if first == "browser":
            await server.call("DELETE", f"api/kernels/{id}", status=204)

    kept = await server.start(box)  # the environment goes on
    for first in ("browser", "kernel"):
        await one(first=first)
    before = usage()
    for number in range(30):
        await one(first=("browser", "kernel")[number % 2])
    await eventually(lambda: all(now <= was + 2 for now, was in zip(usage(), before, strict=True)), "nothing is left")
    await server.call("DELETE", f"api/kernels/{kept}", status=204)


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
    client = connect()
    try:
        client.import_image_from_data(b"\0" * 1024, repository=image, tag="1")
        await eventually(lambda: _has(server, name), "a ready image brings its kernel")
    finally:
        client.remove_image(f"{image}:1")
        client.close()
    await eventually(lambda: _lacks(server, name), "its kernel goes with an image")
    assert await _has(server, "mlenv-host")


async def test_a_kernel_outlives_its_image(
    named: Named, server: Server, environments: Environments, workspace: Path, base_image: str
) -> None:
    """As its environment does, which needs none: until that is gone too it stays in the menu, and can be restarted."""
    preset = named(
        "gone", f'title = "Gone"\n[image]\nbase = "{base_image}"\npip = ["ipykernel"]\nadd_jupyter = false\n'
    )
    name = f"mlenv-{preset}"
    environment, _ = await start(environments, preset, workspace)
    await eventually(lambda: _has(server, name), "a ready image brings its kernel")
    id = await server.start(name)
    client = connect()
    try:
        client.remove_image(environment.image, force=True)
    finally:
        client.close()
    async with server.channels(id) as channels:
        assert await channels.says("print('here')") == "here"
    await server.call("POST", f"api/kernels/{id}/restart")
    async with server.channels(id) as channels:
        assert await channels.says("print('again')") == "again"
    assert [kernel["id"] for kernel in await server.call("GET", "api/kernels")] == [id]
    assert await _has(server, name)
    await environments.remove(environment.id)
    await eventually(lambda: _lacks(server, name), "its kernel goes with an image")
    await server.call("POST", f"api/kernels/{id}/restart", status=500)
    assert f"jupyter mlenv start {preset}" in server.log, "the server's own answer names no reason"
    await server.call("DELETE", f"api/kernels/{id}", status=204)


async def _has(server: Server, name: str) -> bool:
    return name in await server.menu()


async def _lacks(server: Server, name: str) -> bool:
    return name not in await server.menu()
