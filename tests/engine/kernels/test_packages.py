"""`%pip install` in kernels of environments: a place, the index, how long it lasts, and what a person is told.

Installs real packages, small and without dependencies, from the index that this machine uses.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import sys
import sysconfig
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import tomllib
from jupyter_client.asynchronous.client import AsyncKernelClient

from jupyter_mlenv.agent_client import KernelRequest
from jupyter_mlenv.container_layout import RUN_DIR
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.kernels.socket_forwarder import PORTS, SocketForwarder
from tests.support.environments import Named, inside, inspected, start
from tests.support.kernels import Home, kernel, said
from tests.support.lab import Lab, running_lab
from tests.support.people import launch, person_at

HOST = 'extends = "host"\ntitle = "Box"\n'

BUILT = """
title = "Built"
[image]
base = "{base}"
pip = ["ipykernel"]
add_jupyter = false
"""

COWSAY = "import cowsay; print(cowsay.__file__)"
OLDER = "1.1.1"
"""A version of iniconfig, which pytest needs and so the tests' venv has, but not that one."""

PACKAGES = Path(sysconfig.get_path("purelib"))
"""Where the Python that runs the tests, which the `host` preset runs too, has its packages."""


@pytest.fixture(params=["forked", "executed"])
def box(request: pytest.FixtureRequest, named: Named, home: Home) -> str:
    """The kernel of the `host` preset, each way that it can be started."""
    text = "[kernel]\nfork = false\n" if request.param == "executed" else ""
    return home.add(named(f"pip-{request.param}", HOST + text))


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Nothing of all this reaches the machine's own Python."""
    assert metadata.version("iniconfig") != OLDER
    yield
    assert not list(PACKAGES.glob("cowsay*"))
    assert metadata.version("iniconfig") != OLDER


async def test_a_package_is_there_at_once_and_as_long_as_the_environment(
    box: str, workspace: Path, environments: Environments
) -> None:
    async with kernel(box, workspace) as (manager, client):
        before = await said(client, "print(sorted(globals()))")
        assert "ModuleNotFoundError" in await said(client, COWSAY)
        text = await said(client, "%pip install cowsay")
        assert "Successfully installed cowsay" in text, text
        place = await said(client, COWSAY)
        assert place.startswith(await said(client, "import os; print(os.environ['HOME'])"))
        [environment] = await environments.list()
        told = text.partition("to use updated packages.")[2].split("\n")
        assert environment.id in told[1], text
        assert told[-1] == f"{sys.executable} -m pip install cowsay"
        assert "mlenv" not in before, "the startup file leaves no name behind"
        async with kernel(box, workspace) as (_, other):
            assert await said(other, COWSAY) == place
        # A shell's programs find it too.
        assert await inside(environments, environment.id, "import cowsay; print('1')") == 1
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, COWSAY) == place
    await environments.stop(environment.id)
    async with kernel(box, workspace) as (_, client):
        assert await said(client, "import os; print(os.environ['MLENV_ID'])") == environment.id
        assert await said(client, COWSAY) == place
        assert "Requirement already satisfied" in await said(client, "!pip install cowsay")


async def test_another_version_wins_over_the_machines_own(box: str, workspace: Path) -> None:
    version = "import importlib.metadata as m, iniconfig; print(m.version('iniconfig'), iniconfig.__file__)"
    async with kernel(box, workspace) as (manager, client):
        assert str(PACKAGES) in await said(client, version)
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        text = await said(client, f"!pip install 'iniconfig=={OLDER}'")
        assert f"Successfully installed iniconfig-{OLDER}" in text, text
        assert f"-m pip install iniconfig=={OLDER}" in text
        here = await said(client, version)
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert here == await said(client, version)
        assert here.startswith(OLDER)
        assert str(PACKAGES) not in here
        # A program sees what the kernel sees.
        assert OLDER in await said(
            client, "!python -c 'from importlib.metadata import *; print(version(\"iniconfig\"))'"
        )


async def test_uv_installs_there_too(box: str, workspace: Path) -> None:
    async with kernel(box, workspace) as (_, client):
        text = await said(client, "%uv pip install --quiet cowsay")
        assert "-m pip install cowsay" in text, text
        assert "mlenv" in await said(client, COWSAY)


async def test_nothing_is_said_where_nothing_was_installed(box: str, workspace: Path) -> None:
    async with kernel(box, workspace) as (_, client):
        for cell, expected in (
            ("%pip install no-such-package-as-this-one", "No matching distribution"),
            (f"%pip install iniconfig=={metadata.version('iniconfig')}", "already satisfied"),
            ("%pip install --dry-run cowsay", "Would install"),
            ("%pip --version", "pip "),
        ):
            text = await said(client, cell)
            assert expected in text, text
            assert "Installed in the environment" not in text


async def test_what_a_kernel_needs_of_the_venv_below_is_found(box: str, workspace: Path) -> None:
    """What looks below `sys.prefix`, or starts this interpreter again."""
    cells = {
        "from nbconvert import HTMLExporter; import nbformat.v4 as v; "
        "print(len(HTMLExporter().from_notebook_node(v.new_notebook())[0]) > 1000)": "True",
        "import ipywidgets; ipywidgets.IntSlider(7).value": "7",
        "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.close(); print('drawn')": "drawn",
        "import multiprocessing as mp; mp.get_context('spawn').Pool(1).map(abs, [-3])": "[3]",
        "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'import zmq; print(5)']))": "5",
        "import sys; print(sys.prefix != sys.base_prefix)": "True",
    }
    async with kernel(box, workspace) as (_, client):
        for cell, expected in cells.items():
            text = await said(client, cell)
            assert expected in text, (cell, text)
        client.control_channel.send(client.session.msg("debug_request", debug("initialize", 1, adapterID="")))
        assert (await client.control_channel.get_msg(timeout=60))["content"]["success"]
        client.control_channel.send(client.session.msg("debug_request", debug("attach", 2)))
        assert (await client.control_channel.get_msg(timeout=60))["content"]["success"]


def debug(command: str, number: int, **arguments: Any) -> dict[str, Any]:
    """A request to the debugger."""
    return {"type": "request", "seq": number, "command": command, "arguments": arguments}


async def test_the_index_of_this_machine_without_its_password_on_show(
    make_home: Callable[..., Home], named: Named, workspace: Path
) -> None:
    password = secrets.token_hex(12)
    home = make_home(pip_index_url=f"https://ann:{password}@pypi.test/simple", pip_trusted_hosts=["pypi.test"])
    look = "!pip config list; ls -l ~/.config/pip ~/.config/uv; env"
    async with kernel(home.add(named("index", HOST)), workspace) as (_, client):
        id = await said(client, "import os; print(os.environ['MLENV_ID'])")
        text = await said(client, look)
    assert f"global.index-url='https://ann:{password}@pypi.test/simple'" in text.replace("\r", "")
    assert re.search(r"-rw------- .*pip\.conf", text)
    assert re.search(r"-rw------- .*uv\.toml", text)
    assert password not in text.partition("uv.toml")[2], "not in a variable"
    assert password not in json.dumps(inspected(id))


async def test_none_of_it_where_it_is_turned_off(make_home: Callable[..., Home], named: Named, workspace: Path) -> None:
    home = make_home(pass_pip_settings=False, pip_index_url="https://pypi.test/simple")
    async with kernel(home.add(named("index", HOST)), workspace) as (_, client):
        text = await said(client, "!pip config list; ls -A ~ /opt/jupyter-mlenv; env")
    for word in ("pypi.test", ".config", "ca.pem", "SSL_CERT_FILE"):
        assert word not in text


async def test_a_built_image_and_what_the_note_says_to_keep_it(
    named: Named, home: Home, base_image: str, workspace: Path, environments: Environments
) -> None:
    preset = named("pip-built", BUILT.format(base=base_image))
    environment, _ = await start(environments, preset, workspace)
    name = home.add(preset)
    async with kernel(name, workspace) as (_, client):
        text = await said(client, "%pip install -q 'cowsay<7'")
        assert "cowsay" in await said(client, COWSAY)
        async with kernel(name, workspace) as (_, other):
            assert "cowsay" in await said(other, COWSAY)
    file = Path(home.traits["preset_paths"][0], f"{preset}.toml")
    assert f"[image] in {file}, then run `jupyter mlenv start {preset} --workspace {workspace} --recreate`" in text
    [line] = tomllib.loads(text.rpartition("\n")[2])["pip"]
    assert line == "cowsay<7"
    changed = BUILT.format(base=base_image).replace('["ipykernel"]', json.dumps(["ipykernel", line]))
    assert named("pip-built", changed) == preset
    again, _ = await start(environments, preset, workspace, recreate=True)
    assert again.id == environment.id
    async with kernel(name, workspace) as (_, client):
        assert "cowsay" in await said(client, COWSAY)


@asynccontextmanager
async def kernel_of(environments: Environments, id: str, folder: Path) -> AsyncIterator[AsyncKernelClient]:
    """A kernel of an environment that is another person's, as its own provisioner would start it."""
    agent, number = await environments.agent(id), uuid.uuid4().hex
    common = {"transport": "ipc", "key": secrets.token_hex(16), "signature_scheme": "hmac-sha256"}
    ports = {f"{channel}_port": n for n, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    relay = SocketForwarder(agent, {str(folder / f"k-other-{port}"): f"k-other-{port}" for port in PORTS})
    await relay.start()
    client = AsyncKernelClient()
    client.load_connection_info({**common, **ports, "ip": str(folder / "k-other")})
    try:
        await agent.kernels.start(number, KernelRequest(connection={**common, **ports, "ip": f"{RUN_DIR}/k-other"}))
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        await relay.close()


async def test_a_person_who_may_not_write_into_the_image(
    make_home: Callable[..., Home], named: Named, base_image: str, workspace: Path, tmp_path: Path
) -> None:
    """Has the user's own site folder, which is there before the first interpreter starts."""
    config = make_home(shared_filesystem=False).config
    person = dataclasses.replace(config.settings(), uid=12345, gid=12345, username="ann", home="/home/ann")
    environments = Environments(config.engine(), person, Jobs())
    try:
        environment, _ = await start(environments, named("pip-person", BUILT.format(base=base_image)), workspace)
        assert await inside(environments, environment.id, "import os; print(os.getuid())") == 12345
        for _ in range(2):
            async with kernel_of(environments, environment.id, tmp_path) as client:
                text = await said(client, "%pip install cowsay")
                assert "Installed in the environment" in text, text
                assert (await said(client, COWSAY)).startswith("/home/ann/.local/lib/python3")
    finally:
        await environments.close()


@pytest.fixture
def lab(owner: str, workspace: Path) -> Iterator[Lab]:
    with running_lab(owner) as lab:
        (lab.root_dir / "project").mkdir()
        yield lab
        lab.tidy()


async def test_the_environments_own_lab_shares_the_place(lab: Lab) -> None:
    (lab.root_dir / "project" / "pyproject.toml").touch()
    id = str(launch(lab, "host", "project")["id"])
    async with person_at(lab) as person:
        text = await person.execute(id, "%pip install cowsay")
        assert "-m pip install cowsay" in text, text
        assert "/.local/share/jupyter-mlenv/venv/" in await person.execute(id, COWSAY)
        assert "Name: cowsay" in await person.execute(id, "!pip show cowsay")
