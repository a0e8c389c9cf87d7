"""Kernels under an engine that is stopped and started again: a daemon of the test's own, beside everybody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.support.daemons import Daemon, running_daemon
from tests.support.environments import Named, inspected, run_files
from tests.support.kernels import Home, kernel, said

BOX = 'extends = "host"\ntitle = "Box"\nnetwork = "none"\n'


@pytest.fixture
def daemon(engine_ready: str) -> Iterator[Daemon]:
    with running_daemon() as made:
        yield made


@pytest.fixture
async def home(daemon: Daemon, make_home: Callable[..., Home]) -> AsyncIterator[Home]:
    yield make_home(engine_url=daemon.url)
    await asyncio.to_thread(daemon.start)  # what the test has made is removed there


async def test_kernels_end_with_the_engine_and_start_with_a_person(
    daemon: Daemon, home: Home, named: Named, workspace: Path, environments: Environments
) -> None:
    box = home.add(named("box", BOX))
    async with kernel(box, workspace) as (manager, client):
        [environment] = await environments.list()
        assert await said(client, "x = 1; print(x)") == "1"
        with pytest.raises(docker.errors.NotFound):  # the engine that everybody else uses knows nothing of it
            inspected(environment.id)

        dead = asyncio.Event()
        manager.add_restart_callback(dead.set, "dead")
        await asyncio.to_thread(daemon.stop)
        await asyncio.wait_for(dead.wait(), 60)
        # A daemon that ends may still say what it has done, or say nothing any more.
        assert environment.id in manager.provisioner.reason
        assert "was stopped" in manager.provisioner.reason or daemon.url in manager.provisioner.reason

        for attempt in (manager.restart_kernel, kernel(box, workspace).__aenter__):
            with pytest.raises(KernelError) as caught:
                await attempt()
            assert f"No container engine answers at {daemon.url}" in str(caught.value)
            assert caught.value.error.hint in str(caught.value)
            assert caught.value.error.hint

        await asyncio.to_thread(daemon.start)
        assert (await environments.get(environment.id)).state is State.STOPPED
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert "NameError" in await said(client, "x")
        assert (await environments.get(environment.id)).state is State.RUNNING
    assert run_files(environment.run_dir) == ["agent.sock", "token"]


async def test_an_engine_that_is_back_before_anybody_looked(
    daemon: Daemon, home: Home, named: Named, workspace: Path, environments: Environments
) -> None:
    """As with an update of it: what it has stopped stays stopped until a person wants it."""
    async with kernel(home.add(named("box", BOX)), workspace) as (manager, client):
        [environment] = await environments.list()
        dead = asyncio.Event()
        manager.add_restart_callback(dead.set, "dead")
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        await asyncio.wait_for(dead.wait(), 60)
        assert environment.id in manager.provisioner.reason
        assert (await environments.get(environment.id)).state is State.STOPPED
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, "1 + 1") == "2"
