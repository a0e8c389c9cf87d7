"""What a notebook is told when its kernel ends unasked, over the server's own WebSocket, and how it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from tests.support.environments import Named
from tests.support.kernels import Home
from tests.support.servers import Channels, Server, serving

HOST = 'extends = "host"\ntitle = "Box"\n'
GREEDY = "blocks = [bytearray(1 << 24) for _ in range(64)]\nfor block in blocks: block[:] = b'1' * len(block)"


@pytest.fixture
async def server(home: Home, workspace: Path) -> AsyncIterator[Server]:
    async with serving(home, workspace) as running:
        yield running


async def told(channels: Channels) -> dict[str, Any]:
    """The message that says why the kernel has ended."""
    return await channels.until(lambda message: "jupyter-mlenv" in message["metadata"])


def status(state: str) -> Any:
    return lambda message: message["msg_type"] == "status" and message["content"]["execution_state"] == state


async def test_out_of_memory_is_said_in_the_output_of_the_cell(named: Named, home: Home, server: Server) -> None:
    id = await server.start(home.add(named("small", HOST + '[resources]\nmemory = "300m"\n')))
    async with server.channels(id) as channels:
        await channels.says("1")
        request = await channels.execute(GREEDY)
        await channels.execute("print('a second cell, which waits')")
        message = await told(channels)
        assert (message["channel"], message["msg_type"], message["content"]["name"]) == ("iopub", "stream", "stderr")
        assert message["parent_header"]["msg_id"] == request
        assert "ran out of memory" in message["content"]["text"]
        assert "300 MiB" in message["content"]["text"]
        assert message["metadata"]["jupyter-mlenv"]["restarting"] is True
        assert message["metadata"]["jupyter-mlenv"]["reason"] + "\n" == message["content"]["text"]
        await channels.until(status("restarting"))
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"


async def test_a_kernel_whose_environment_was_stopped_is_dead_until_it_is_restarted(
    named: Named, home: Home, server: Server, environments: Environments
) -> None:
    id = await server.start(home.add(named("box", HOST)))
    [environment] = await environments.list()
    async with server.channels(id) as channels, server.channels(id) as another:
        await channels.says("x = 1")
        await environments.stop(environment.id)
        for tab in (channels, another):
            message = await told(tab)
            assert message["metadata"]["jupyter-mlenv"]["restarting"] is False
            assert f"{environment.id} was stopped" in message["content"]["text"]
            assert "restart of the kernel" in message["content"]["text"]
            await tab.until(status("dead"))
        model = await server.call("GET", f"api/kernels/{id}")
        assert model["execution_state"] == "dead"
        assert environment.id in model["reason"]
        assert (await environments.get(environment.id)).state is State.STOPPED

        await server.call("POST", f"api/kernels/{id}/restart")
        assert (await environments.get(environment.id)).state is State.RUNNING
    async with server.channels(id) as channels:  # as a browser does after a restart
        assert await channels.says("print('x' in dir())") == "False"
        assert "reason" not in await server.call("GET", f"api/kernels/{id}")
    await server.call("DELETE", f"api/kernels/{id}", status=204)


async def test_whoever_opens_the_notebook_again_has_its_kernel_started(
    named: Named, home: Home, server: Server, environments: Environments
) -> None:
    id = await server.start(home.add(named("box", HOST)))
    [environment] = await environments.list()
    async with server.channels(id) as channels:
        await channels.says("x = 1")
        await environments.stop(environment.id)
        await channels.until(status("dead"))
    async with server.channels(id) as channels, server.channels(id) as another:
        assert await channels.says("print('x' in dir())") == "False"
        assert await another.says("print('both')") == "both"
    assert (await environments.get(environment.id)).state is State.RUNNING


async def test_a_restart_in_vain_says_why(
    named: Named, home: Home, server: Server, environments: Environments, presets: Path
) -> None:
    preset = named("box", HOST)
    id = await server.start(home.add(preset))
    [environment] = await environments.list()
    async with server.channels(id) as channels:
        await channels.says("1")
        await environments.remove(environment.id)
        await told(channels)
        (presets / f"{preset}.toml").unlink()
        await server.call("POST", f"api/kernels/{id}/restart", status=500)
        assert preset in (await told(channels))["content"]["text"]
        (presets / f"{preset}.toml").write_text(HOST)
        await server.call("POST", f"api/kernels/{id}/restart")
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"


async def test_the_kernels_api_says_what_is_wrong(named: Named, home: Home, server: Server) -> None:
    preset = named("absent", '[image]\nreference = "mlenv-test/absent:1"\n')
    answer = await server.call("POST", "api/kernels", {"name": home.add(preset)}, 500)
    assert f"jupyter mlenv start {preset}" in answer["message"]
