"""Much output at once, from kernels in real environments: as with a local kernel, all of it arrives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous import AsyncKernelClient

from tests.engine.environment_support import Named
from tests.support.kernels import Home, kernel

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
        message: dict[str, Any] = await client.get_iopub_msg(timeout=30)
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
