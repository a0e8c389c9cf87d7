"""A kernel of another language, which the preset's image brings along: built, started, interrupted and restarted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.support.environments import Named, inside, start
from tests.support.kernels import Home, kernel, replied, said
from tests.support.waiting import eventually

BASH = """
title = "Bash"
[image]
base = "{base}"
pip = ["bash_kernel"]
add_jupyter = false
[kernel]
argv = ["python3", "-m", "bash_kernel", "-f", "{{connection_file}}"]
language = "bash"
"""

SHELLS = """
import json, pathlib
names = [path.read_text().strip() for path in pathlib.Path("/proc").glob("[0-9]*/comm")]
print(json.dumps([name for name in names if name in ("bash", "sleep")]))
"""


SCHEME = """
title = "Scheme"
[image]
base = "{base}"
pip = ["calysto_scheme"]
add_jupyter = false
[kernel]
spec = "{spec}"
language = "scheme"
"""


async def under_way(client: AsyncKernelClient, code: str) -> str:
    """Run code that says that it is at work; returns the id of its request."""
    id = client.execute(code)
    while True:
        message = await client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "stream" and "at work" in message["content"]["text"]:
            return str(id)


async def alone(environments: Environments, id: str) -> bool:
    """Whether no shell runs in the environment."""
    return bool(await inside(environments, id, SHELLS) == [])


async def test_a_kernel_that_the_image_brings(
    named: Named, home: Home, base_image: str, workspace: Path, environments: Environments
) -> None:
    preset = named("bash", BASH.format(base=base_image))
    environment, _ = await start(environments, preset, workspace)
    (workspace / "words.txt").write_text("of the workspace\n")

    async with kernel(home.add(preset), workspace) as (manager, client):
        assert manager.kernel_spec is not None
        assert (manager.kernel_spec.display_name, manager.kernel_spec.language) == ("Bash (mlenv)", "bash")
        info = await client.kernel_info(reply=True, timeout=60)
        assert info["content"]["language_info"]["name"] == "bash"
        assert await said(client, "echo ${0##*/} in $MLENV_ID") == f"bash in {environment.id}"
        assert await said(client, "cat words.txt") == "of the workspace"
        await said(client, "kept=yes; echo made > made.txt")
        assert (workspace / "made.txt").read_text() == "made\n"

        id = await under_way(client, "echo at work; sleep 613; echo not reached")
        # Not before there is a program to interrupt: on a busy machine bash has printed long before it starts one.
        await eventually(lambda: not subprocess.run(["pgrep", "-fx", "sleep 613"], check=False).returncode, "it sleeps")
        await manager.interrupt_kernel()
        assert (await replied(client, id))["status"] == "abort"
        assert await said(client, "echo ${kept:-no}") == "yes"

        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, "echo ${kept:-no}") == "no"

        await manager.shutdown_kernel()
        assert not await manager.is_alive()

    assert await (await environments.agent(environment.id)).kernels.list() == []
    await eventually(lambda: alone(environments, environment.id), "no shell is left")


async def test_a_kernelspec_that_the_image_brings(
    named: Named, home: Home, base_image: str, workspace: Path, environments: Environments
) -> None:
    preset = named("scheme", SCHEME.format(base=base_image, spec="calysto_scheme"))
    await start(environments, preset, workspace)
    name = home.add(preset)
    async with kernel(name, workspace) as (manager, client):
        assert manager.kernel_spec is not None
        assert (manager.kernel_spec.display_name, manager.kernel_spec.language) == ("Scheme (mlenv)", "scheme")
        info = await client.kernel_info(reply=True, timeout=60)
        assert info["content"]["language_info"]["name"] == "scheme"
        assert await said(client, "(define x 6)\n(* x 7)") == "42"
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert "unbound" in (await said(client, "x")).lower()

    named("scheme", SCHEME.format(base=base_image, spec="ir"))
    with pytest.raises(KernelError) as caught:
        async with kernel(name, workspace):
            pass
    text = str(caught.value)
    assert "There is no kernelspec ir in the environment" in text
    assert "there are: " in text
    assert "calysto_scheme" in text
    assert "`spec` below [kernel]" in text
