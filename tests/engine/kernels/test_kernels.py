"""Kernels in real environments, driven by jupyter_client as a Jupyter server drives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager, start_new_kernel

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.kernels import loop_thread, use_cases
from jupyter_mlenv.kernels.kernel_error import KernelError
from jupyter_mlenv.kernels.use_cases import Served
from tests.support.docker import DOCKER_SOCKET, Relay
from tests.support.environments import Named, by_hand, run_files, start
from tests.support.kernels import Home, attach_kernel, kernel, replied, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    """The kernel of a preset, each way that it can be started."""
    text = "[kernel]\nfork = false\n" if request.param == "executed" else ""
    return home.add(named(f"box-{request.param}", HOST + text))


async def files_of(environments: Environments) -> list[str]:
    """What lies in the run directories, without what belongs to the environments themselves."""
    found = [e.run_dir for e in await environments.list()]
    return [name for folder in found for name in run_files(folder) if name not in ("agent.sock", "token")]


async def test_a_kernel_runs_in_the_notebooks_folder_and_leaves_nothing(
    box: str, workspace: Path, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace / 'it\'s a "näme" 名'
    folder.mkdir()
    monkeypatch.setenv("SECRET_OF_THE_HOST", "token")
    monkeypatch.setenv("JPY_PARENT_PID", "999999")  # of another process namespace: the kernel would end at once
    async with kernel(box, folder) as (manager, client):
        [environment] = await environments.list()
        assert environment.workspace == str(workspace)
        assert await said(client, "import os; print(os.getcwd())") == str(folder)
        assert await said(client, "print(os.environ['MLENV_ID'])") == environment.id
        assert await said(client, "[n for n, v in os.environ.items() if 'SECRET' in n or v == '999999']") == "[]"
        await said(client, "open('made.txt', 'w').write('here')")
        assert (folder / "made.txt").read_text() == "here"
        connection = manager.connection_file
        await manager.shutdown_kernel()
    assert await files_of(environments) == []
    assert not Path(connection).exists()  # noqa: ASYNC240
    assert await (await environments.agent(environment.id)).kernels.list() == []


async def test_interrupt_reaches_what_a_cell_has_started(box: str, workspace: Path) -> None:
    async with kernel(box, workspace) as (manager, client):
        for code in (
            "import time; print('at work', flush=True); time.sleep(600)",
            "import subprocess; print('at work', flush=True); subprocess.run(['sleep', '600'])",
        ):
            # Else ipykernel refuses what comes right after an error, which the next cell may do.
            id = client.execute(code, stop_on_error=False)
            while (message := await client.get_iopub_msg(timeout=60))["msg_type"] != "stream":
                pass
            assert message["content"]["text"].strip() == "at work"
            await manager.interrupt_kernel()
            assert (await replied(client, id))["ename"] == "KeyboardInterrupt"
        assert await said(client, "1 + 1") == "2"


async def test_restarts_keep_the_connection_and_forget_the_rest(
    box: str, workspace: Path, environments: Environments
) -> None:
    async with kernel(box, workspace) as (manager, client):
        before = manager.get_connection_info()
        for now in (False, True, False):
            await said(client, "x = 1")
            await manager.restart_kernel(now=now)
            await client.wait_for_ready(timeout=60)
            assert manager.get_connection_info() == before
            assert "NameError" in await said(client, "x")
        [environment] = await environments.list()
        assert len(await (await environments.agent(environment.id)).kernels.list()) == 1
        assert len([name for name in await files_of(environments) if name.endswith("-1")]) == 1


async def test_a_crash_is_noticed_named_and_mended(box: str, workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with kernel(box, workspace) as (manager, client):
        manager.log.propagate = True
        client.execute("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        provisioner = manager.provisioner
        await eventually(lambda: manager.provisioner.has_process and not manager.shutting_down, "it runs")
        await eventually(lambda: "SIGSEGV" in provisioner.reason or "SIGSEGV" in caplog.text, "it says why")
        # Before that the client would take it for dead, which it is for as long as the next one needs to start.
        assert await eventually(manager.is_alive, "it runs again")
        await client.wait_for_ready(timeout=60)
        assert await said(client, "1 + 1") == "2"


async def test_a_synchronous_manager_has_kernels_too(
    box: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)

    def work() -> None:
        manager, client = start_new_kernel(kernel_name=box)
        try:
            assert client.execute_interactive("1 / 1", timeout=60, store_history=False)["content"]["status"] == "ok"
            manager.restart_kernel()
            client.wait_for_ready(timeout=60)
            assert manager.is_alive()
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        assert not manager.is_alive()

    await asyncio.to_thread(work)


async def test_a_server_that_waits_for_a_synchronous_manager_gets_its_kernel(
    box: str, home: Home, workspace: Path, environments: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an extension may do it: the server's loop stands still until the kernel is there."""
    monkeypatch.setattr(use_cases, "BUSY_LOOP_SECONDS", 0.2)
    served = Served(environments, asyncio.get_running_loop())
    thread = loop_thread.use(home.config, served)
    try:
        manager = KernelManager(kernel_name=box)
        manager.start_kernel(cwd=str(workspace))
        try:
            assert manager.is_alive()
            [environment] = await environments.list()
            assert environment.state is State.RUNNING
        finally:
            manager.shutdown_kernel()
    finally:
        await asyncio.to_thread(loop_thread.release, thread)


async def test_a_kernel_of_a_stopped_environment_starts_it(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    preset = named("box", HOST)
    environment, _ = await start(environments, preset, workspace)
    await environments.stop(environment.id)
    async with kernel(home.add(preset), workspace) as (_, client):
        assert await said(client, "import os; print(os.environ['MLENV_ID'])") == environment.id


async def test_kernels_share_an_environment(named: Named, home: Home, workspace: Path) -> None:
    box = home.add(named("box", HOST))
    async with kernel(box, workspace) as (_, one), kernel(box, workspace) as (_, other):
        ask = "import os; print(os.environ['MLENV_ID'])"
        assert await said(one, ask) == await said(other, ask)
        assert await said(one, "os.getpid()") != await said(other, "os.getpid()")


async def test_with_isolate_each_has_its_own_until_its_end(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    box = home.add(named("alone", HOST + "[kernel]\nisolate = true\n"))
    async with kernel(box, workspace) as (manager, one), kernel(box, workspace) as (_, other):
        ask = "import os; print(os.environ['MLENV_ID'])"
        id = await said(one, ask)
        assert id != await said(other, ask)
        await manager.restart_kernel()
        await one.wait_for_ready(timeout=60)
        assert await said(one, ask) == id
        assert len(await environments.list()) == 2
    assert await environments.list() == []


async def test_a_missing_image_is_not_built_but_named(named: Named, home: Home, workspace: Path) -> None:
    preset = named("absent", '[image]\nreference = "mlenv-test/absent:1"\n')
    with pytest.raises(KernelError) as caught:
        async with kernel(home.add(preset), workspace):
            pass
    assert f"jupyter mlenv start {preset}" in str(caught.value)
    assert "not ready" in str(caught.value)


async def test_a_folder_outside_names_the_mount(
    named: Named, home: Home, workspace: Path, environments: Environments, tmp_path: Path
) -> None:
    preset = named("box", HOST)
    data = tmp_path / "data"
    data.mkdir()
    pinned = home.add(preset, workspace=str(workspace))
    with pytest.raises(KernelError) as caught:
        async with kernel(pinned, data):
            pass
    assert f"--mount '{data}' --recreate" in str(caught.value)
    command = [sys.executable, "-m", "jupyter_mlenv.cli", "start", preset, "--workspace", str(workspace)]
    subprocess.run(  # noqa: ASYNC221
        [*command, "--mount", str(data), "--recreate"], env=os.environ | dict(home.environment), check=True, timeout=120
    )
    async with kernel(pinned, data) as (_, client):
        assert await said(client, "import os; print(os.getcwd())") == str(data)


async def test_a_stopped_environment_is_not_started_behind_ones_back(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    async with kernel(home.add(named("box", HOST)), workspace) as (manager, first):
        first.stop_channels()  # it would come back under the name of the next client, and take its replies
        dead = asyncio.Event()
        manager.add_restart_callback(dead.set, "dead")
        [environment] = await environments.list()
        await environments.stop(environment.id)
        await asyncio.wait_for(dead.wait(), 30)
        assert (await environments.get(environment.id)).state is State.STOPPED
        # A person who restarts the kernel means it.
        await manager.restart_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        client.stop_channels()
        assert (await environments.get(environment.id)).state is State.RUNNING


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_an_environment_lost_under_a_kernel(
    how: str, named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    async with kernel(home.add(named("box", HOST)), workspace) as (manager, _):
        manager.stop_restarter()
        [environment] = await environments.list()
        if how == "kill":
            by_hand("kill", environment.id)
        else:
            await environments.remove(environment.id)
        await eventually(lambda: _dead(manager), "the kernel is known to be dead")
        assert ("stopped" if how == "kill" else "removed") in manager.provisioner.reason
        assert environment.id in manager.provisioner.reason


async def _dead(manager: Any) -> bool:
    return not await manager.is_alive()


async def test_looking_whether_it_lives_asks_no_engine(
    make_home: Callable[..., Home], named: Named, tmp_path: Path, workspace: Path
) -> None:
    relay = Relay(DOCKER_SOCKET)
    home = make_home(engine_url=await relay.listen_unix(tmp_path / "relay.sock"))
    try:
        async with kernel(home.add(named("box", HOST)), workspace) as (manager, _):
            before = relay.requests
            for _ in range(200):
                assert await manager.is_alive()
            await manager.restart_kernel()
            assert relay.requests - before <= 2
    finally:
        await asyncio.to_thread(loop_thread.close)
        await relay.cut()
        (home.config).engine_url = ""


ADOPT = """
import asyncio, json, sys
from jupyter_client.ioloop import AsyncIOLoopKernelManager
async def main():
    manager = AsyncIOLoopKernelManager(kernel_name=sys.argv[1])
    await manager.start_kernel(cwd=sys.argv[2])
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    await client.execute_interactive("x = 42", timeout=60)
    info = await manager.provisioner.get_provisioner_info()
    print(json.dumps({"info": info, "file": manager.connection_file}), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_kernel_outlives_a_killed_server_and_is_found_again(
    box: str, home: Home, workspace: Path, environments: Environments
) -> None:
    first = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", ADOPT, box, str(workspace)],
        env=os.environ | dict(home.environment),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout
    told = json.loads(await asyncio.to_thread(first.stdout.readline))
    first.send_signal(signal.SIGKILL)
    await asyncio.to_thread(first.wait)
    manager = await attach_kernel(box, told["info"], connection_file=told["file"])
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        assert await said(client, "x") == "42"
        assert await manager.is_alive()
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert "NameError" in await said(client, "x")
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
    assert not await manager.is_alive()
    assert await files_of(environments) == []


async def test_out_of_memory_is_named_with_the_limit(named: Named, home: Home, workspace: Path) -> None:
    box = home.add(named("small", HOST + '[resources]\nmemory = "300m"\n'))
    async with kernel(box, workspace) as (manager, client):
        manager.stop_restarter()
        client.execute(
            "x = [bytearray(1 << 24) for _ in range(64)]; [b.__setitem__(slice(None), b'1' * len(b)) for b in x]"
        )
        await eventually(lambda: _dead(manager), "the kernel is known to be dead")
        assert "ran out of memory" in manager.provisioner.reason
        assert "300 MiB" in manager.provisioner.reason


async def test_another_language_is_started_by_its_command(named: Named, home: Home, workspace: Path) -> None:
    argv = ["python3", "-m", "bash_kernel", "-f", "{connection_file}"]
    async with kernel(home.add(named("bash", HOST), argv=argv), workspace) as (manager, client):
        assert (
            await said(client, "echo $((6 * 7)) in $MLENV_PRESET")
            == f"42 in {os.path.basename(manager.kernel_name)[6:]}"
        )
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, "pwd") == str(workspace)


async def test_where_nothing_is_shared_kernels_go_through_the_agent(
    make_home: Callable[..., Home], named: Named, workspace: Path, run_root: str
) -> None:
    home = make_home(shared_filesystem=False)
    async with kernel(home.add(named("box", HOST)), workspace) as (manager, client):
        assert await said(client, "print('x' * 3_000_000)") == "x" * 3_000_000
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, "1 + 1") == "2"
    assert os.listdir(run_root) == []
