"""The command line in a container that has the engine's socket, as a Jupyter of DockerSpawner's is."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.planning import host_python
from tests.support.environments import opened, start
from tests.support.lab import DOCKER_SOCKET
from tests.support.leftovers import connect
from tests.support.repository import ROOT

HOME = "/home/jovyan"


class Spawned:
    """A container with this machine's Python, the engine's socket, a home on a volume, and a folder of the host."""

    def __init__(self, id: str, owner: str) -> None:
        self.id, self.owner = id, owner

    def run(self, folder: str, *words: str) -> tuple[int, str]:
        """Exit code and output of a `jupyter mlenv` command in this folder."""
        command = [sys.executable, "-m", "jupyter_mlenv.cli", words[0], f"--MlenvConfig.owner={self.owner}", *words[1:]]
        with closing(connect()) as client:
            made = client.exec_create(self.id, command, workdir=folder)["Id"]
            output: bytes = client.exec_start(made)
            return client.exec_inspect(made)["ExitCode"], output.decode()


@pytest.fixture
async def spawned(settings: Callable[..., MlenvConfig], workspace: Path, owner: str) -> Iterator[Spawned]:
    # A start of the preset `host` brings its image, which this container is made from as well.
    async with opened(settings()) as environments:
        environment, _ = await start(environments, "host", workspace)
        image, lent = environment.image, host_python.mounts(environments.settings)
    name, work = f"mlenv-test-{secrets.token_hex(4)}", Path(tempfile.mkdtemp(prefix="mlenv-work-", dir="/tmp"))
    (work / "p").mkdir()
    (work / "p" / "here.txt").write_text("of the host")
    mounts = [{"Type": "bind", "Source": m.source, "Target": m.target, "ReadOnly": True} for m in lent]
    mounts += [
        {"Type": "bind", "Source": DOCKER_SOCKET, "Target": DOCKER_SOCKET},
        {"Type": "bind", "Source": str(ROOT), "Target": str(ROOT), "ReadOnly": True},
        {"Type": "volume", "Source": name, "Target": HOME},
        {"Type": "bind", "Source": str(work), "Target": f"{HOME}/projects"},
    ]
    env = [f"HOME={HOME}", f"PYTHONPATH={ROOT}", f"DOCKER_HOST=unix://{DOCKER_SOCKET}", "PYTHONDONTWRITEBYTECODE=1"]
    body = {
        "Image": image,
        "Cmd": ["/usr/bin/sleep", "infinity"],
        "Env": env,
        "Labels": {f"{LABEL}.owner": owner},
        "HostConfig": {"Mounts": mounts, "Init": True},
    }
    with closing(connect()) as client:
        made = client.create_container_from_config(body, name=name)["Id"]
        try:
            client.start(made)
            yield Spawned(made, owner)
        finally:
            client.remove_container(made, force=True, v=True)
            client.remove_volume(name, force=True)
            shutil.rmtree(work)


async def test_projects_on_the_hosts_folders_and_volumes_work(spawned: Spawned, presets: Path, base_image: str) -> None:
    preset = f'schema = 1\n[image]\nreference = "{base_image}"\n'
    write = f"mkdir -p ~/own ~/.presets && printf '%s' '{preset}' >~/.presets/small.toml"
    with closing(connect()) as client:
        client.exec_start(client.exec_create(spawned.id, ["sh", "-c", write])["Id"])
    option = f"--MlenvConfig.preset_paths={HOME}/.presets"
    for folder, there in ((f"{HOME}/projects/p", "here.txt"), (f"{HOME}/own", "")):
        code, output = spawned.run(folder, "start", "small", option)
        assert code == 0, output
        code, output = spawned.run(folder, "shell", "small", "--", "sh", "-c", "ls; touch made.there")
        assert (code, output.split()) == (0, [there] if there else [])
        code, output = spawned.run(folder, "list", "--json")
        [id] = [one["id"] for one in json.loads(output) if one["workspace"] == folder]
        assert spawned.run(folder, "restart", id)[0] == 0
        assert spawned.run(folder, "rm", "--yes", id)[0] == 0

    code, output = spawned.run("/var/tmp", "start", "small", option)
    assert code == 1
    assert "/var/tmp lies in the container that this Jupyter itself runs in" in output
    assert f"{HOME}/projects" in output

    code, output = spawned.run(f"{HOME}/own", "start", "host")
    assert code == 1
    assert "itself runs in a container" in output
    listed = json.loads(spawned.run(f"{HOME}/own", "presets", "--json")[1])
    assert "host" not in {one["name"] for one in listed}
    code, output = spawned.run(f"{HOME}/own", "doctor")
    assert "this Jupyter itself runs in a container" in output
    assert code == 0, output
