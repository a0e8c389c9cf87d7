"""On a rootless engine an ordinary person has what they have on any other; with a user map they are told why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.errors import EngineUnsupported
from jupyter_mlenv.planning.model import StartRequest
from tests.support.daemons import running_daemon
from tests.support.environments import opened
from tests.support.rootless import Rootless, rootless_engine

PRESET = """
schema = 1
title = "Box"
[image]
base = "{base}"
pip = ["ipykernel"]
add_jupyter = false
[resources]
memory = "300m"
"""

CODE = "import os, pathlib; pathlib.Path('by the kernel').touch(); print(os.getuid(), os.environ['MLENV_WORKSPACE'])"

EXECUTE = "from nbclient.cli import main; main()"


@pytest.fixture(scope="module")
def engine(base_image: str) -> Iterator[Rootless]:
    with rootless_engine() as made:
        made.load(base_image)
        yield made


@pytest.fixture
def mlenv(engine: Rootless, owner: str) -> Callable[..., str]:
    """What `jupyter mlenv …` prints to the person in a folder."""
    engine.configure(owner=owner, run_root=f"{engine.home}/run", preset_paths=[f"{engine.home}/presets"])
    return engine.mlenv


def test_files_kernels_and_limits_are_the_persons(engine: Rootless, base_image: str, mlenv: Callable[..., str]) -> None:
    engine.write("presets/box.toml", PRESET.format(base=base_image))
    folder = engine.write("work/requirements.txt", "").parent
    assert "did not apply the memory limit" in mlenv(folder, "start", "box")
    [made] = json.loads(mlenv(folder, "list", "--json"))
    assert (made["workspace"], made["state"]) == (str(folder), "running")

    mlenv(folder, "shell", made["id"], "--", "sh", "-c", "mkdir a && touch a/b && chmod 700 a")
    mlenv(folder, "restart", made["id"])
    mlenv(folder, "stop", made["id"])
    mlenv(folder, "start", "box")
    assert mlenv(folder, "shell", made["id"], "--", "sh", "-c", "ls a; id -u").split() == ["b", "0"]

    mlenv(folder, "kernels", "add", "box")
    [spec] = (engine.home / ".local/share/jupyter/kernels").glob("mlenv-*")
    metadata = {"kernelspec": {"name": spec.name, "display_name": "x", "language": "python"}}
    notebook = new_notebook(cells=[new_code_cell(CODE)], metadata=metadata)
    engine.write("work/a.ipynb", nbformat.writes(notebook))
    done = engine.run(folder, "-c", EXECUTE, "--output", "done", "a.ipynb")
    assert done.returncode == 0, done.stderr
    [output] = nbformat.read(folder / "done.ipynb", 4).cells[0].outputs
    assert output["text"].split() == ["0", str(folder)]

    # Its own container runs the tests' Python, which may lie where the person may not go.
    found = json.loads(engine.run(folder, "-m", "jupyter_mlenv.cli", "doctor", "--json").stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert "rootless" in checks["Its machine"]["message"]
    assert "memory limits" in checks["Limits"]["message"]

    mlenv(folder, "rm", "--yes", made["id"])
    assert {(path.name, path.stat().st_uid) for path in folder.rglob("*")} == {
        (name, engine.uid) for name in ("requirements.txt", "a", "b", "a.ipynb", "done.ipynb", "by the kernel")
    }
    assert engine.containers() == []
    assert list((engine.home / "run").iterdir()) == []


async def test_with_a_user_map_nothing_is_started(settings: Callable[..., MlenvConfig], workspace: Path) -> None:
    with running_daemon(user_map=True) as daemon:
        async with opened(settings(engine_url=daemon.url)) as environments:
            with pytest.raises(EngineUnsupported, match="userns-remap") as caught:
                await environments.start(StartRequest("host", str(workspace)))
            assert await environments.list() == []
        assert "rootless" in (caught.value.hint or "")
        assert daemon.containers() == []
