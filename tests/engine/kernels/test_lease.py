"""Kernels whose process was killed: they end after their grace, unless somebody else holds them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.kernels import placement
from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.support.environments import Named
from tests.support.kernels import Home, attach_kernel, kernel, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'

STARTS = """
import asyncio, json, sys
from jupyter_client.ioloop import AsyncIOLoopKernelManager

async def start(cwd):
    manager = AsyncIOLoopKernelManager(kernel_name=sys.argv[1])
    await manager.start_kernel(cwd=cwd)
    return {"info": await manager.provisioner.get_provisioner_info(), "file": manager.connection_file}

async def main():
    print(json.dumps([await start(cwd) for cwd in sys.argv[2:]]), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
"""A process that has a kernel in each folder, and tells of them."""


Kill = Callable[[], None]


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home(kernel_grace=2.0)


@asynccontextmanager
async def killed(home: Home, box: str, *folders: Path) -> AsyncIterator[tuple[list[dict[str, Any]], Kill]]:
    """What a process tells about its kernels, and what kills it without a word."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", STARTS, box, *map(str, folders)],
        env=os.environ | dict(home.environment),
        stdout=subprocess.PIPE,
        text=True,
    )

    def kill() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    try:
        assert process.stdout
        yield json.loads(await asyncio.to_thread(process.stdout.readline)), kill
    finally:
        kill()


async def test_they_end_unless_somebody_holds_them(
    home: Home, named: Named, workspace: Path, environments: Environments
) -> None:
    box = home.add(named("box", HOST))
    async with killed(home, box, workspace, workspace) as ((one, other), kill):
        [environment] = await environments.list()
        agent = await environments.agent(environment.id)
        manager = await attach_kernel(box, one["info"], connection_file=one["file"])
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            assert [kernel.holders for kernel in await agent.kernels.list()] == [2, 1]
            kill()

            async def ended() -> bool:
                return [kernel.state for kernel in await agent.kernels.list()] == ["ready", "exited"]

            # Both have had the same grace by then.
            await eventually(ended, "the kernel that nobody holds has ended")
            assert await said(client, "1 + 1") == "2"
            with pytest.raises(KernelError, match="has ended") as late:
                await attach_kernel(box, other["info"], connection_file=other["file"])
            assert environment.id in str(late.value)
            prefix = os.path.basename(other["info"]["connection_info"]["ip"])
            assert [
                name for name in os.listdir(run_directory.inside(environment.run_dir)) if name.startswith(prefix)
            ] == []
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()
    assert os.listdir(run_directory.inside(environment.run_dir)) == ["agent.sock"]


async def test_an_isolated_environment_without_its_kernel_is_swept(
    home: Home, named: Named, workspace: Path, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = home.add(named("alone", HOST + "[kernel]\nisolate = true\n"))
    async with killed(home, box, workspace) as ((_,), kill):
        [left] = await environments.list()
        # As if it had been there for longer than a start takes.
        monkeypatch.setattr(placement, "LEFTOVER_AGE_SECONDS", 0.0)
        async with kernel(box, workspace):
            assert len(await environments.list()) == 2, "one with a living kernel is nobody's to remove"
        kill()

        async def stopped() -> bool:
            return (await environments.get(left.id)).state is State.STOPPED

        await eventually(stopped, "it ends with its kernel, with nobody there to end it")
        async with kernel(box, workspace):
            [mine] = await environments.list()
            assert mine.id != left.id
    assert await environments.list() == []
