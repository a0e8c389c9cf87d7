"""Much output at once, from kernels in real environments: as with a local kernel, all of it arrives."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous import AsyncKernelClient

from jupyter_mlenv.environments import Environments
from tests.support.environments import Named
from tests.support.kernels import Home, kernel
from tests.support.servers import Server, serving
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'
OUTPUTS = 5000
BURST = f"""
from IPython.display import display
for i in range({OUTPUTS}):
    display({{"text/plain": str(i)}}, raw=True)
"""


async def burst(client: AsyncKernelClient, busy: float) -> int:
    """How many of 5,000 outputs reach a client that is busy with each. Raises Empty without the end of the cell."""
    id, arrived = client.execute(BURST, store_history=False), 0
    while True:
        message: dict[str, Any] = await client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") == id:
            if message["content"].get("execution_state") == "idle":
                return arrived
            arrived += message["msg_type"] == "display_data"
            time.sleep(busy)  # noqa: ASYNC251  a client that is busy, which is the point


@pytest.mark.parametrize("fork", ["true", "false"])
async def test_bursts_arrive_whole(fork: str, named: Named, home: Home, workspace: Path) -> None:
    box = home.add(named(f"box-{fork}", f"{HOST}[kernel]\nfork = {fork}\n"))
    async with kernel(box, workspace) as (manager, client):
        for busy in (0.0, 0.0003, 0.001):
            assert await burst(client, busy) == OUTPUTS
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await burst(client, 0.0003) == OUTPUTS


async def burst_in_a_browser(server: Server, id: str) -> int:
    """The same through the server's WebSocket. Raises TimeoutError without the end of the cell."""
    arrived = 0
    async with server.channels(id) as channels:
        request = await channels.execute(BURST)

        def idle(message: dict[str, Any]) -> bool:
            nonlocal arrived
            if message["parent_header"].get("msg_id") != request:
                return False
            time.sleep(0.0003)
            arrived += message["msg_type"] == "display_data"
            return message["channel"] == "iopub" and message["content"].get("execution_state") == "idle"

        await channels.until(idle)
    return arrived


async def test_bursts_arrive_whole_in_a_browser(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    """Also from a kernel that a server has taken over. What the server itself drops by default is not our subject."""
    box = home.add(named("box", HOST))
    async with serving(home, workspace, "--ZMQChannelsWebsocketConnection.limit_rate=False") as server:
        body = {"path": "a.ipynb", "type": "notebook", "name": "a.ipynb", "kernel": {"name": box}}
        id = (await server.call("POST", "api/sessions", body, 201))["kernel"]["id"]
        assert await burst_in_a_browser(server, id) == OUTPUTS

        await server.end(signal.SIGKILL)
        [environment] = await environments.list()
        agent = await environments.agent(environment.id)

        async def alone() -> bool:
            return all(not kernel.holders for kernel in await agent.kernels.list())

        await eventually(alone, "nobody is connected to the kernel")
        await server.begin()
        assert await burst_in_a_browser(server, id) == OUTPUTS
        await server.call("DELETE", f"api/kernels/{id}", status=204)
