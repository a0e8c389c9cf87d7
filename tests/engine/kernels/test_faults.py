"""Kernels while their environment is stopped, removed or killed: nothing hangs, nothing is left, and it is said why."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.kernels import placement
from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.support.environments import Left, Named, by_hand, run_files
from tests.support.kernels import Home, kernel, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('stubborn')"
OWN = ["agent.sock", "token"]


@pytest.fixture
def box(named: Named, home: Home) -> str:
    return home.add(named("box", HOST))


async def dead(manager: Any) -> bool:
    return not await manager.is_alive()


async def test_a_start_while_the_environment_is_being_stopped(
    box: str, workspace: Path, environments: Environments
) -> None:
    """It waits for the end of that, then starts the environment, since somebody wants a kernel now."""
    async with kernel(box, workspace) as (polite, _), kernel(box, workspace) as (stubborn, client):
        polite.stop_restarter()
        stubborn.stop_restarter()
        assert await said(client, STUBBORN) == "stubborn"
        [environment] = await environments.list()
        stopping = asyncio.create_task(environments.stop(environment.id))
        try:
            await eventually(lambda: dead(polite), "the first kernel has ended, the second takes its time")
            assert f"The environment {environment.id} was stopped" in polite.provisioner.reason
            assert (await environments.get(environment.id)).state is State.RUNNING
            async with kernel(box, workspace) as (_, other):
                assert await said(other, "import os; print(os.environ['MLENV_ID'])") == environment.id
                own = [name for name in run_files(environment.run_dir) if name not in OWN]
                assert len(own) == 6, "a connection file and five sockets, of the one that runs"
        finally:
            await stopping
        await eventually(lambda: dead(stubborn), "the second kernel is known to be dead")
        assert "was stopped" in stubborn.provisioner.reason
    assert run_files(environment.run_dir) == OWN


async def test_a_stop_that_takes_long_starts_no_kernel_behind_ones_back(
    box: str, workspace: Path, environments: Environments
) -> None:
    async with kernel(box, workspace) as (polite, _), kernel(box, workspace) as (stubborn, client):
        told = []
        for manager in (polite, stubborn):
            event = asyncio.Event()
            manager.add_restart_callback(event.set, "dead")
            told.append(event)
        assert await said(client, STUBBORN) == "stubborn"
        [environment] = await environments.list()
        await environments.stop(environment.id)
        for event in told:
            await asyncio.wait_for(event.wait(), 60)
        assert (await environments.get(environment.id)).state is State.STOPPED
        assert run_files(environment.run_dir) == ["token"]


async def test_starts_while_the_environment_is_being_removed(
    box: str, workspace: Path, environments: Environments, left: Left
) -> None:
    for _ in range(3):
        async with kernel(box, workspace) as (manager, _client):
            manager.stop_restarter()
            [environment] = await environments.list()
            removal = asyncio.create_task(environments.remove(environment.id))
            await asyncio.sleep(0)
            try:
                async with kernel(box, workspace) as (_, other):
                    assert await said(other, "import os; print(os.environ['MLENV_ID'])") == environment.id
            finally:
                await removal
        assert len(left()) == 2, "one container, one run directory"
        assert run_files(environment.run_dir) == OWN


async def test_a_container_that_is_killed_leaves_nothing_for_the_next_life(
    box: str, workspace: Path, environments: Environments
) -> None:
    async with kernel(box, workspace) as (manager, client), kernel(box, workspace) as (other, _):
        manager.stop_restarter()
        other.stop_restarter()
        [environment] = await environments.list()
        by_hand("kill", environment.id)
        await eventually(lambda: dead(manager), "the kernel is known to be dead")
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert len([name for name in run_files(environment.run_dir) if name not in OWN]) == 6
        assert await said(client, "1 + 1") == "2"
    assert run_files(environment.run_dir) == OWN


async def test_an_environment_that_does_not_answer_is_named(
    box: str, workspace: Path, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a cleaner of temporary files has been at its sockets: waiting does not help, restarting does."""
    monkeypatch.setattr(placement, "RETRY_DELAYS_SECONDS", placement.RETRY_DELAYS_SECONDS[:2])
    async with kernel(box, workspace):
        [environment] = await environments.list()
    os.unlink(run_directory.agent_socket(environment.run_dir))
    with pytest.raises(KernelError) as caught:
        async with kernel(box, workspace):
            pass
    assert environment.id in str(caught.value)
    assert f"jupyter mlenv restart {environment.id}" in str(caught.value)
    await (await environments.restart(environment.id))[1].wait()
    async with kernel(box, workspace) as (_, client):
        assert await said(client, "1 + 1") == "2"


POSES = """
import json, os, signal, socket, sys
connection = json.load(open(sys.argv[1]))
kept = []
for channel in ("shell", "iopub", "stdin", "control", "hb"):
    path = f"{connection['ip']}-{connection[channel + '_port']}"
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path + ".elsewhere")
    kept[-1].listen(64)
    os.symlink(path + ".elsewhere", path)
signal.pause()
"""
"""A kernel in whose sockets' places are links."""


async def test_a_kernel_with_links_for_sockets_is_refused_and_ended(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    argv = json.dumps(["python3", "-c", POSES, "{connection_file}"])
    box = home.add(named("poses", f"{HOST}[kernel]\nargv = {argv}\n"))
    with pytest.raises(KernelError, match="sockets") as caught:
        async with kernel(box, workspace):
            pass
    [environment] = await environments.list()
    assert f"jupyter mlenv restart {environment.id}" in str(caught.value)
    assert [k for k in await (await environments.agent(environment.id)).kernels.list() if k.state != "exited"] == []
