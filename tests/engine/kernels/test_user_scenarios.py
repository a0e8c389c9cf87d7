"""Kernels as people have them every day: odd folders, many restarts, questions to the person, stubborn cells."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.multikernelmanager import AsyncMultiKernelManager

from jupyter_mlenv.environments import Environments
from tests.support.environments import Named, inside, run_files
from tests.support.kernels import Home, kernel, replied, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'

PROCESSES = """
import json, pathlib
found = []
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        name, _, rest = path.read_text().partition("(")[2].rpartition(")")
    except OSError:
        continue
    found.append([name, rest.split()[0]])
print(json.dumps(found))
"""
"""Name and state of every process of the environment."""


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    """The kernel of a preset, each way that it can be started."""
    text = "[kernel]\nfork = false\n" if request.param == "executed" else ""
    return home.add(named(f"box-{request.param}", HOST + text))


async def under_way(client: AsyncKernelClient, code: str) -> str:
    """Run code that says that it is at work; returns the id of its request."""
    # Else ipykernel refuses what comes right after an error, which the next cell may do.
    id = client.execute(code, stop_on_error=False)
    while True:
        message = await client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "stream" and "at work" in message["content"]["text"]:
            return str(id)


async def test_a_folder_of_connection_files_too_deep_for_sockets(box: str, workspace: Path, tmp_path: Path) -> None:
    """As a server's JUPYTER_RUNTIME_DIR may be: a unix socket's path holds 107 bytes."""
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    managers = AsyncMultiKernelManager(connection_dir=str(deep))
    id = await managers.start_kernel(kernel_name=box, cwd=str(workspace))
    client = managers.get_kernel(id).client()
    client.start_channels()
    try:
        assert len(list(deep.iterdir())) == 1
        for _ in range(2):
            await client.wait_for_ready(timeout=60)
            assert await said(client, "1 + 1") == "2"
            await managers.restart_kernel(id)
    finally:
        client.stop_channels()
        await managers.shutdown_all(now=True)
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("name", ['it\'s a "näme" $HOME `id` 名', "12:30 #1 %s {x} \\ & *", "-rf --help"])
async def test_any_name_of_a_project(name: str, named: Named, home: Home, tmp_path: Path) -> None:
    project = tmp_path / name
    (project / "sub").mkdir(parents=True)
    (project / "pyproject.toml").write_text("")
    async with kernel(home.add(named("box", HOST)), project / "sub") as (_, client):
        assert await said(client, "import os; print(os.environ['MLENV_WORKSPACE'])") == str(project)
        assert await said(client, "print(os.getcwd())") == str(project / "sub")
        await said(client, "open('made.txt', 'w').write('here')")
        assert await said(client, "!pwd") == str(project / "sub")
    assert (project / "sub" / "made.txt").read_text() == "here"


async def test_a_hundred_restarts_leave_nothing(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    async with kernel(home.add(named("box", HOST)), workspace) as (manager, client):
        [environment] = await environments.list()
        manager.stop_restarter()

        async def counted() -> tuple[int, int]:
            await client.wait_for_ready(timeout=60)
            assert await said(client, "1 + 1") == "2"
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        async def settled() -> list[tuple[str, str]]:
            """What runs in the environment besides what asks."""
            found = [(name, state) for name, state in await inside(environments, environment.id, PROCESSES)]
            return sorted(found)

        for now in (True, False, True):  # until everything has been loaded and opened that is only once
            await manager.restart_kernel(now=now)
        before, running = await counted(), await settled()
        files = run_files(environment.run_dir)
        for _ in range(50):
            await manager.restart_kernel(now=True)
            await client.kernel_info(
                reply=True, timeout=60
            )  # ipykernel may stumble over a polite wish before it is ready
            await manager.restart_kernel()
        after = await counted()
        # Pools of threads fill up to the number of processors and some; a hundred of anything would show.
        assert after[0] <= before[0] + 10
        assert after[1] <= before[1] + 10
        assert run_files(environment.run_dir) == files
        now_running = await settled()
        assert len(now_running) == len(running), (running, now_running)
        assert [name for name, state in now_running if state == "Z"] == []
        assert len(await (await environments.agent(environment.id)).kernels.list()) == 1
    assert run_files(environment.run_dir) == ["agent.sock", "token"]


async def test_a_cell_asks_the_person(box: str, workspace: Path) -> None:
    async with kernel(box, workspace) as (_, client):
        id = client.execute("x = input('name? ') + input()", allow_stdin=True)
        for prompt, answer in (("name? ", "Ada"), ("", " Lovelace")):
            asked = await client.get_stdin_msg(timeout=60)
            assert asked["content"]["prompt"] == prompt
            client.input(answer)
        assert (await replied(client, id))["status"] == "ok"
        assert await said(client, "print(x)") == "Ada Lovelace"
        await said(client, "import os; words = {'deep': {'down': 1}}")
        completion = await client.complete("os.path.isd", 11, reply=True, timeout=60)
        assert "isdir" in str(completion["content"]["matches"])
        completion = await client.complete("words['de", 9, reply=True, timeout=60)
        assert "deep" in completion["content"]["matches"]
        inspection = await client.inspect("os.path.isdir", 13, reply=True, timeout=60)
        assert "existing directory" in inspection["content"]["data"]["text/plain"]


async def test_interrupt_waits_for_a_library_that_does_not_listen(box: str, workspace: Path) -> None:
    """Each sum is one call into C, which looks at no signal and lets no other thread speak."""
    async with kernel(box, workspace) as (manager, client):
        id = await under_way(client, "print('at work', flush=True)\nwhile True: sum(range(10**7))")
        await manager.interrupt_kernel()
        assert (await replied(client, id))["ename"] == "KeyboardInterrupt"
        assert await said(client, "1 + 1") == "2"


async def test_interrupt_reaches_the_children_of_what_a_cell_has_started(
    box: str, workspace: Path, environments: Environments
) -> None:
    async with kernel(box, workspace) as (manager, client):
        [environment] = await environments.list()
        nested = "sh -c \"sh -c 'echo at work; sleep 600; :'; :\""
        id = await under_way(client, f"import subprocess; subprocess.run(['sh', '-c', {nested!r}])")
        await manager.interrupt_kernel()
        assert (await replied(client, id))["ename"] == "KeyboardInterrupt"

        async def gone() -> bool:
            return "sleep" not in [name for name, _ in await inside(environments, environment.id, PROCESSES)]

        await eventually(gone, "no process of the cell is left")
        assert await said(client, "1 + 1") == "2"


async def test_what_a_cell_left_running_ends_with_the_kernel(
    box: str, workspace: Path, environments: Environments
) -> None:
    """Also when the kernel itself is killed, and nothing stays as a zombie."""
    async with kernel(box, workspace) as (manager, client):
        [environment] = await environments.list()
        manager.stop_restarter()
        await said(client, "import subprocess; subprocess.Popen(['sleep', '600'])")
        client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        await eventually(lambda: _dead(manager), "the kernel is known to be dead")
        found = await inside(environments, environment.id, PROCESSES)
        assert "sleep" not in [name for name, _ in found]
        assert [name for name, state in found if state == "Z"] == []
        assert run_files(environment.run_dir) == ["agent.sock", "token"]


async def _dead(manager: Any) -> bool:
    return not await manager.is_alive()
