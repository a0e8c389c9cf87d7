"""Front ends that know no provisioners: they run the argv of a kernel.json, which must not run a kernel out here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from jupyter_client.kernelspec import KernelSpec

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.kernels import kernelspec
from tests.support.environments import Left, Named
from tests.support.kernels import Home, kernel, replied, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'
WHERE = "import os, socket; print(os.environ.get('MLENV_ID'), socket.gethostname(), os.getcwd())"


class Plain(AsyncIOLoopKernelManager):
    """As a front end that reads the argv of a kernel.json and nothing else of it."""

    @property
    def kernel_spec(self) -> KernelSpec:
        found: Any = super().kernel_spec
        return KernelSpec(argv=found.argv, display_name=found.display_name, language=found.language)


def argv_of(home: Home, name: str) -> list[str]:
    spec = json.loads((home.folder / "data" / "kernels" / name / "kernel.json").read_text())
    return list(spec["argv"])


@asynccontextmanager
async def plain(home: Home, name: str, cwd: Path, **options: Any) -> AsyncIterator[tuple[Plain, AsyncKernelClient]]:
    manager = Plain(kernel_name=name, **options)
    await manager.start_kernel(cwd=str(cwd), env={**os.environ, **home.environment})
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def no_kernels(environments: Environments) -> bool:
    found = [await (await environments.agent(e.id)).kernels.list() for e in await environments.list()]
    return not any(kernel.state != "exited" for kernels in found for kernel in kernels)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
async def test_it_runs_in_the_environment_and_obeys(
    transport: str, named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    box = home.add(named("box", HOST))
    options = {"transport": "ipc", "ip": str(home.folder / "own")} if transport == "ipc" else {}
    async with plain(home, box, workspace, **options) as (manager, client):
        assert type(manager.provisioner).__name__ == "LocalProvisioner"
        [environment] = await environments.list()
        id, host, folder = (await said(client, WHERE)).split()
        assert (id, folder) == (environment.id, str(workspace))
        assert host != os.uname().nodename
        request = client.execute("import time; print('at work', flush=True); time.sleep(600)", stop_on_error=False)
        while (await client.get_iopub_msg(timeout=60))["msg_type"] != "stream":
            pass
        await manager.interrupt_kernel()
        assert (await replied(client, request))["ename"] == "KeyboardInterrupt"
        await said(client, "x = 1")
        for now in (False, True):
            await manager.restart_kernel(now=now)
            await client.wait_for_ready(timeout=60)
            assert "NameError" in await said(client, "x")
            assert (await said(client, WHERE)).split()[0] == environment.id
        assert len([k for k in await (await environments.agent(id)).kernels.list() if k.state != "exited"]) == 1
        await manager.shutdown_kernel()
        assert await no_kernels(environments)


async def test_its_end_is_the_kernels_and_the_other_way_round(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    box = home.add(named("box", HOST))
    async with plain(home, box, workspace) as (manager, client):
        manager.stop_restarter()
        process: subprocess.Popen[bytes] = manager.provisioner.process  # type: ignore[union-attr]
        client.execute("import os; os._exit(7)")
        assert await asyncio.to_thread(process.wait, 30) == 7
    for number in (signal.SIGTERM, signal.SIGKILL):
        async with plain(home, box, workspace) as (manager, client):
            manager.stop_restarter()
            assert await said(client, "1 + 1") == "2"
            process = manager.provisioner.process  # type: ignore[union-attr]
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 30) == -number
            await eventually(lambda: no_kernels(environments), "the kernel has ended too")


@pytest.mark.parametrize("which", ["preset", "file"])
async def test_a_start_that_fails_says_why(which: str, named: Named, home: Home, workspace: Path, left: Left) -> None:
    box = home.add(named("absent", '[image]\nreference = "mlenv-test/absent:1"\n'))
    file = home.folder / "connection.json"
    ports = {f"{name}_port": 50000 + i for i, name in enumerate(("shell", "iopub", "stdin", "control", "hb"))}
    given = {**ports, "key": "k", "ip": "127.0.0.1", "transport": "tcp", "signature_scheme": "hmac-sha256"}
    file.write_text(json.dumps(given) if which == "preset" else "[]")
    command = [word.replace("{connection_file}", str(file)) for word in argv_of(home, box)]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=workspace,
        env={**os.environ, **home.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert ("jupyter mlenv start" if which == "preset" else str(file)) in done.stderr
    assert "Traceback" not in done.stderr
    assert left() == []


async def test_nothing_of_the_notebooks_folder_runs_out_here(
    named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    trap = f"open({str(workspace / 'sprung')!r}, 'a').write(__name__ + ' ' + __import__('socket').gethostname())\n"
    for name in ("jupyter_mlenv", "runpy", "argparse", "asyncio", "zmq", "traitlets"):
        (workspace / f"{name}.py").write_text(trap)
    command = [*argv_of(home, home.add(named("box", HOST)))[:-1], str(workspace / "none.json")]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=workspace,
        env={**os.environ, **home.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "none.json" in done.stderr
    assert not await asyncio.to_thread((workspace / "sprung").exists)
    assert await environments.list() == []


async def test_a_kernelspec_of_an_earlier_version_still_works_here(named: Named, home: Home, workspace: Path) -> None:
    box = home.add(named("box", HOST), argv=list(kernelspec.IPYKERNEL))
    async with kernel(box, workspace) as (_, client):
        assert (await said(client, WHERE)).split()[0] != "None"
