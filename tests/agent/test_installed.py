"""After `%pip install`: what a cell asked for, whether it is there, and the words that say how to keep it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tomllib

import jupyter_mlenv.agent
from jupyter_mlenv import presets
from jupyter_mlenv.agent.ipython import installed
from jupyter_mlenv.planning import container_files, install_hint
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.presets.model import KernelOptions, Preset
from tests.unit.planning.test_plan import make, preset

STARTUP = Path(jupyter_mlenv.agent.__file__).with_name("ipython") / "startup.py"
ID = "python-0123456789"

CELLS: dict[str, Sequence[str]] = {
    "%pip install cowsay": ["cowsay"],
    "pip install cowsay": ["cowsay"],
    "x = 1\n  %pip install -q a \\\n  b  # and why\nprint(x)": ["a", "b"],
    "!pip install -U 'a[x]>=1,<2' \"b==2\" 2>&1 | tail -1": ["a[x]>=1,<2", "b==2"],
    "!pip3.12 install --upgrade --index-url https://i.test/s -qc limits.txt a": ["a"],
    "!pip --proxy http://p.test:1 install a": ["a"],
    "%pip install a>=5": ["a"],  # a redirection, as in a shell
    "%uv pip install a --index-strategy unsafe-best-match": ["a"],
    "!uv pip install a -p 3.12": [],
    "!{sys.executable} -m pip install a": ["a"],
    "!PIP_QUIET=1 python3 -m pip install a": ["a"],
    "!sudo $PYTHON -m pip install a": ["a"],
    "lines = !pip install a": ["a"],
    "%conda install --yes -c conda-forge a=1.2 x::b c": ["a==1.2", "b", "c"],
    "!mamba install -n other a": [],
    "!cd src && pip install a; pip install b": ["a", "b"],
    "%%bash\nset -e\npip install a\npip list": ["a"],
    "%%time\n%pip install a": ["a"],
    "%%writefile setup.sh\n!pip install a": [],
    "%pip install -e . ./wheels/a.whl /srv/b ~/c d.whl": [],
    "%pip install git+https://g.test/a.git#egg=a 'b @ https://w.test/b.whl'": [
        "git+https://g.test/a.git#egg=a",
        "b @ https://w.test/b.whl",
    ],
    "!pip install {name} $other a": ["a"],
    "!pip install --target=lib a": [],
    "!pip install --dry-run a": [],
    "!pip download a": [],
    "!pip uninstall -y install": [],
    "!apt install a": [],
    "# %pip install a\nprint('!pip install a')": [],
    "%pip install 'a": [],
    "%%\n!pip install a": [],
    "": [],
}


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_cell_asked_for(cell: str) -> None:
    assert [spec for request in installed.requests(cell) for spec in request.specs] == CELLS[cell]


def test_names_of_what_was_asked_for() -> None:
    cell = "%pip install 'A.b_c[x]>=1; python_version>\"3\"' git+https://g.test/d.git#egg=d e@https://x.test/e.whl https://f"
    [request] = installed.requests(cell)
    assert request.names == ["A.b_c", "d", "e"]


def test_it_has_succeeded_if_something_is_newer_than_the_environment() -> None:
    begun = installed.since("pytest")
    assert begun
    [request] = installed.requests("%pip install pytest no-such-package")
    assert installed.succeeded([request], begun, 1)
    assert not installed.succeeded([request], begun + 1, 0), "it was there before"
    assert not installed.succeeded(installed.requests("%pip install no-such-package"), begun, 0)
    [request] = installed.requests("%pip install -r requirements.txt")
    assert installed.succeeded([request], begun, 0)
    assert not installed.succeeded([request], begun, 1)
    assert not installed.succeeded([], begun, 0)


def told(cell: str, of: Preset, folder: str = "/w", **request: str) -> str:
    asked = StartRequest(of.name, folder, **request)
    return installed.text(installed.requests(cell), install_hint.note(of, asked, ID, "/my venv/bin/python"), folder)


def catalog(name: str) -> Preset:
    return next(preset for preset in presets.catalog() if preset.name == name)


def test_a_preset_of_the_catalog_gets_a_file_in_the_project_beside_it(tmp_path: Path) -> None:
    text = told("%pip install -q 'cowsay<7' a -i https://i.test/s", catalog("python"), str(tmp_path))
    file = tmp_path / "mlenv.toml"
    lasts, keep, *toml = text.split("\n")
    assert (
        lasts == f"Installed in the environment {ID}. It stays when that is stopped or restarted, until it is removed."
    )
    assert f"write this into {file}. Then `jupyter mlenv start project --workspace {tmp_path}` starts" in keep
    assert f"`jupyter mlenv kernels add project --workspace {tmp_path}` adds its kernel" in keep
    own = presets.parse("\n".join(toml), file=str(file), directory=str(tmp_path), confined=str(tmp_path))
    assert own.name == "project", "a project's preset takes no name that another one has"
    assert own.image == replace(
        catalog("python").image, pip=(*catalog("python").image.pip, "cowsay<7", "a"), pip_index="https://i.test/s"
    )
    file.write_text("\n".join(toml))
    again = told("%pip install b", catalog("python"), str(tmp_path))
    assert again.split("\n")[1:] == [
        f"To keep it for good, use the preset of {file}, with this in its [image]:",
        'pip = ["b"]',
    ]


def test_an_image_that_is_pulled_becomes_one_that_is_built_upon(tmp_path: Path) -> None:
    text = told("%pip install b", catalog("scipy-notebook"), str(tmp_path))
    own = presets.parse(text.split("\n", 2)[2], file="mlenv.toml", directory=str(tmp_path), confined=str(tmp_path))
    assert (own.image.base, own.image.pip) == (catalog("scipy-notebook").image.reference, ("b",))
    assert own.image.add_jupyter


def test_every_preset_of_the_catalog_can_keep_packages(tmp_path: Path) -> None:
    for each in presets.catalog():
        text = told("%pip install b", each, str(tmp_path))
        if not each.uses_host_python:
            own = presets.parse(text.split("\n", 2)[2], file="mlenv.toml", directory=str(tmp_path))
            assert (own.name, own.image.pip[-1]) == ("project", "b")


def test_a_preset_of_a_file_is_changed_there() -> None:
    own = replace(preset('base = "b:1"'), source="/p/small.toml")
    lines = told("%pip install a", own, name="second").split("\n")
    assert lines[1] == (
        "To keep it for good, add this to [image] in /p/small.toml, then run "
        "`jupyter mlenv start small --workspace /w --name second --recreate`, which removes what else was installed:"
    )
    assert tomllib.loads("\n".join(lines[2:])) == {"pip": ["a"]}
    pulled = told("%pip install a", replace(preset(), source="/p/small.toml"))
    assert "in the place of `reference` in [image] in /p/small.toml" in pulled
    assert tomllib.loads(pulled.split("\n", 2)[2]) == {"base": "python:3.12", "pip": ["a"]}


def test_the_machines_own_python_and_a_dockerfile_get_a_command() -> None:
    host = told("%pip install 'a<2' -r more.txt", catalog("host"))
    assert host.split("\n")[2] == "'/my venv/bin/python' -m pip install 'a<2' -r /w/more.txt"
    own = preset('dockerfile = "docker/Dockerfile"', directory="/p")
    lines = told("%pip install 'a<2'", own).split("\n")
    assert "add this to /p/docker/Dockerfile, then run `jupyter mlenv start small" in lines[1]
    assert lines[2] == "RUN pip install 'a<2'"


def test_a_requirements_file_is_named_from_where_the_preset_lies() -> None:
    own = replace(preset('base = "b:1"'), source="/w/conf/small.toml")
    assert told("%pip install -r more.txt", own).split("\n")[2:] == ['requirements = "../more.txt"']


def test_what_no_image_can_have_is_only_said_to_be_there() -> None:
    assert told("%pip install -e .", catalog("python")).count("\n") == 0


def test_a_kernel_with_an_environment_of_its_own_takes_it_along() -> None:
    alone = replace(preset('base = "b:1"'), kernel=KernelOptions(isolate=True), source="/p/s.toml")
    text = told("%pip install a", alone, name="kernel-0123")
    assert text.startswith(f"Installed in the environment {ID}, which is removed when this kernel ends.\n")
    assert "`jupyter mlenv start small --workspace /w`" in text


def test_the_note_travels_with_the_plan() -> None:
    files = {file.path: file for file in make(preset()).files}
    note = json.loads(files["/opt/jupyter-mlenv/mlenv_agent/ipython/keep.json"].data or b"")
    assert note == install_hint.note(preset(), StartRequest("small", "/home/ann/project"), make(preset()).id, "python3")
    startup = files[f"/home/ann/{container_files.STARTUP}"]
    assert (startup.data, startup.mode, startup.uid) == (STARTUP.read_bytes(), 0o600, 1000)


def test_a_cell_never_fails_over_it_and_finds_no_name_of_ours(tmp_path: Path) -> None:
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    # As in a container that has lost the rest.
    (startup / "00-mlenv.py").write_text(STARTUP.read_text().replace("/opt/jupyter-mlenv", str(tmp_path)))
    code = "before = set(globals())\n!echo install\nprint([name for name in before if 'mlenv' in name])"
    (tmp_path / "code.ipy").write_text(code)
    env = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", "-i"]
    done = subprocess.run(
        command, input=f"{code}\nexit\n", env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert "[]" in done.stdout
    assert "rror" not in done.stdout + done.stderr
