"""After cells that install packages: whether a person is told, of which packages, and how to keep them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomllib

import jupyter_mlenv.agent
from jupyter_mlenv import presets
from jupyter_mlenv.agent import overlay
from jupyter_mlenv.agent.ipython import installed
from jupyter_mlenv.planning import container_files, install_hint
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.presets.model import KernelOptions, Preset
from tests.support.agents import interpreters
from tests.unit.planning.test_plan import make, preset

FOLDER = Path(jupyter_mlenv.agent.__file__).with_name("ipython")
STARTUP = FOLDER / "startup.py"
ID = "python-0123456789"

SAYS_PACKAGES = {"lasts": "It lasts.", "keep": "Keep:\n{lines}"}
"""A note whose last line is the packages."""


class Site:
    """A folder with packages on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        requires: Sequence[str] = (),
        by: str = "pip",
        requested: bool = True,
        **origin: Any,
    ) -> Path:
        """As an installer writes it; `origin` is where it came from, unless that is an index."""
        folder = self.folder / f"{re.sub('[-.]', '_', name)}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (folder / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {line}" for line in requires]) + "\n\n")
        (folder / "INSTALLER").write_text(f"{by}\n")
        if requested:
            (folder / "REQUESTED").touch()
        if origin:
            (folder / "direct_url.json").write_text(json.dumps(origin))
        return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "site-packages").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    return Site(tmp_path / "site-packages")


@pytest.fixture
def cell(site: Site) -> installed.Installation:
    """A cell that begins to run, on a path with a package."""
    site.add("old")
    return installed.Installation()


def specs(cell: installed.Installation, code: str) -> list[str]:
    return sorted(package.spec for package in cell.packages(code, time.time() + 60))


def test_what_only_came_along_is_not_named(site: Site, cell: installed.Installation) -> None:
    site.add("Top.Level", requires=["under_neath>=1", "old", "win; sys_platform == 'win32'"])
    site.add("under-neath", requested=False, requires=["below"])
    site.add("below", requested=False)
    assert specs(cell, "%pip install -q top_level") == ["top_level"]


def test_what_was_asked_for_is_named_although_another_package_needs_it(
    site: Site, cell: installed.Installation
) -> None:
    site.add("top", requires=["below"])
    site.add("below")
    assert specs(cell, "%pip install 'below<2' top") == ["below<2", "top"]


def test_uv_marks_everything_as_requested(site: Site, cell: installed.Installation) -> None:
    site.add("top", requires=["below", "under"], by="uv")
    site.add("below", by="uv")
    site.add("under", by="uv")
    assert specs(cell, "!uv pip install top 'below~=1.0'") == ["below~=1.0", "top"]


def test_two_that_need_each_other_are_named(site: Site, cell: installed.Installation) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        site.add(name, "2.0", requires=[other], by="Poetry 1.8.2", requested=False)
    assert specs(cell, "!poetry install") == ["a==2.0", "b==2.0"]


def test_an_extra_is_kept(site: Site, cell: installed.Installation) -> None:
    site.add("big", requires=["small", "more; extra == 'all'"])
    site.add("small", requested=False)
    site.add("more", "3.0", requested=False)
    assert specs(cell, "%pip install 'big[all]'") == ["big[all]"]
    assert specs(cell, "!make install") == ["big==1.0", "more==3.0"], "nobody says that it was an extra"


WISHES = {
    "%pip install 'A.b_c[x,y]>=1,<2; python_version>\"3\"'": "A.b_c[x,y]>=1,<2",
    "import a_b_c\n%pip install a-b-c==1.0 2>&1 | tail -1": "a-b-c==1.0",
    "!pip install a.b.c >log.txt": "a.b.c",
    "!pip install {name}": "A-b.c==1.0",
    "%pip install a-b-c-d other/a-b-c.txt x-a-b-c": "A-b.c==1.0",
    "%conda install --yes x::a-b-c=1.0": "A-b.c==1.0",
    'subprocess.run([sys.executable, "-m", "pip", "install", "a-b-c!=0.9"])': "a-b-c!=0.9",
}


@pytest.mark.parametrize("code", WISHES)
def test_a_package_is_asked_for_as_in_the_cell_or_by_its_version(
    site: Site, cell: installed.Installation, code: str
) -> None:
    site.add("A-b.c")
    assert specs(cell, code) == [WISHES[code]]


def test_a_package_that_is_not_of_an_index_has_its_address(site: Site, cell: installed.Installation) -> None:
    commit = {"vcs": "git", "commit_id": "0123abc", "requested_revision": "main"}
    site.add("a", url="https://g.test/a.git", vcs_info=commit)
    site.add("b", url="https://g.test/b.git", vcs_info=commit, subdirectory="python")
    site.add("c", url="https://w.test/c-1.0-py3-none-any.whl", archive_info={})
    assert specs(cell, "%pip install git+https://g.test/a.git c[x]@https://w.test/c-1.0-py3-none-any.whl") == [
        "a @ git+https://g.test/a.git@0123abc",
        "b @ git+https://g.test/b.git@0123abc#subdirectory=python",
        "c[x] @ https://w.test/c-1.0-py3-none-any.whl",
    ]


def test_nothing_is_new_where_a_cell_has_only_looked(
    site: Site, cell: installed.Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.folder / "old").mkdir()
    moved = site.folder / "~ld-1.0.dist-info"
    (site.folder / "old-1.0.dist-info").rename(moved)  # as pip does while an upgrade may fail
    moved.rename(site.folder / "old-1.0.dist-info")
    Site(tmp_path / "elsewhere").add("other")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert specs(cell, "# install") == []


def test_a_newer_version_or_the_same_once_more_is_new(site: Site) -> None:
    folder = site.add("a")
    cell = installed.Installation()
    shutil.rmtree(folder)
    assert specs(cell, "!pip uninstall a") == []
    site.add("a", "2.0")
    assert specs(cell, "%pip install -U a") == ["a"]
    cell = installed.Installation()
    shutil.rmtree(site.folder / "a-2.0.dist-info")
    site.add("a", "2.0")
    assert specs(cell, "%pip install --force-reinstall a") == ["a"]


def test_an_install_command_names_it_again(site: Site, cell: installed.Installation) -> None:
    begun = time.time() - 60
    site.add("new", "2.0", requires=["old"])
    later = installed.Installation()
    assert [one.spec for one in later.packages("%pip install -q 'new<3'", begun)] == ["new<3"]
    assert [one.spec for one in later.packages("!cat install.txt\nimport new", begun)] == []
    assert [one.spec for one in later.packages("%pip install -q new", time.time() + 60)] == [], "of the image"


@pytest.mark.parametrize("interpreter", [0, -1], ids=["oldest", "newest"])
def test_any_interpreter_can_look(interpreter: int, tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    shutil.copy(FOLDER / "installed.py", tmp_path)
    (tmp_path / "keep.json").write_text(json.dumps(SAYS_PACKAGES))
    code = f"""
import pathlib, shutil, sys
sys.path.insert(0, {str(tmp_path / "site-packages")!r})
import installed
cell = installed.Installation()
shutil.copytree({str(tmp_path / "new")!r}, {str(tmp_path / "site-packages" / "a-1.0.dist-info")!r})
cell.tell("# %pip install 'a>=0.1'\\n%pip install -q \\\\\\n 'a>=1'")
"""
    Site(tmp_path).add("a", requires=["b; extra == 'c'"]).rename(tmp_path / "new")
    command = [interpreters()[interpreter], "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == 'It lasts.\nKeep:\npip = ["a>=1"]\n'


def told(code: str, of: Preset, packages: Sequence[str] = ("a",), folder: str = "/w", **request: str) -> str:
    """Return the note of a preset once a cell has installed the packages."""
    note = install_hint.note(of, StartRequest(of.name, folder, **request), ID, "/my venv/bin/python")
    with tempfile.TemporaryDirectory() as place:
        found = [installed.Package(str(Site(Path(place)).add(name)), code) for name in packages]
    return installed.text(found, code, note, folder)


def catalog(name: str) -> Preset:
    return next(preset for preset in presets.catalog() if preset.name == name)


def test_a_preset_of_the_catalog_gets_a_file_in_the_project_beside_it(tmp_path: Path) -> None:
    text = told("%pip install -q 'cowsay<7' a -i https://i.test/s", catalog("python"), ("a", "cowsay"), str(tmp_path))
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
        catalog("python").image, pip=(*catalog("python").image.pip, "a", "cowsay<7"), pip_index="https://i.test/s"
    )
    file.write_text("\n".join(toml))
    again = told("%pip install b", catalog("python"), ("b",), str(tmp_path))
    assert again.split("\n")[1:] == [
        f"To keep it for good, use the preset of {file}, with this in its [image]:",
        'pip = ["b"]',
    ]


def test_an_image_that_is_pulled_becomes_one_that_is_built_upon(tmp_path: Path) -> None:
    text = told("%pip install b", catalog("scipy-notebook"), ("b",), str(tmp_path))
    own = presets.parse(text.split("\n", 2)[2], file="mlenv.toml", directory=str(tmp_path), confined=str(tmp_path))
    assert (own.image.base, own.image.pip) == (catalog("scipy-notebook").image.reference, ("b",))
    assert own.image.add_jupyter


def test_every_preset_of_the_catalog_can_keep_packages(tmp_path: Path) -> None:
    for each in presets.catalog():
        text = told("%pip install b", each, ("b",), str(tmp_path))
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


def test_the_machines_own_python_and_a_dockerfile_get_a_command(tmp_path: Path) -> None:
    (tmp_path / "more.txt").touch()
    host = told("%pip install 'a<2' -r more.txt", catalog("host"), ("a", "b"), str(tmp_path))
    assert host.split("\n")[2] == f"'/my venv/bin/python' -m pip install 'a<2' -r {tmp_path}/more.txt"
    own = preset('dockerfile = "docker/Dockerfile"', directory="/p")
    lines = told("%pip install 'a<2'", own).split("\n")
    assert "add this to /p/docker/Dockerfile, then run `jupyter mlenv start small" in lines[1]
    assert lines[2] == "RUN pip install 'a<2'"


@pytest.mark.parametrize(
    "code",
    [
        "%pip install -q -r more.txt",
        "!uv pip install --requirements=more.txt",
        "check_call(['pip', 'install', '-r', 'more.txt'])",
    ],
)
def test_a_requirements_file_is_named_from_where_the_preset_lies(code: str, tmp_path: Path) -> None:
    (tmp_path / "more.txt").touch()
    own = replace(preset('base = "b:1"'), source=str(tmp_path / "conf" / "small.toml"))
    assert told(code, own, ("a", "b"), str(tmp_path)).split("\n")[2:] == ['requirements = "../more.txt"']


def test_a_requirements_file_that_is_not_there_gives_its_packages(tmp_path: Path) -> None:
    own = replace(preset('base = "b:1"'), source=str(tmp_path / "small.toml"))
    lines = told("!cd /srv && pip install -r more.txt", own, ("a", "b"), str(tmp_path)).split("\n")
    assert lines[2:] == ['pip = ["a==1.0", "b==1.0"]']


def test_what_no_image_can_have_is_only_said_to_be_there(site: Site, cell: installed.Installation) -> None:
    site.add("mine", requires=["a"], url="file:///w", dir_info={"editable": True})
    site.add("a", requested=False)
    code = "%pip install -e ."
    assert installed.text(cell.packages(code, time.time() + 60), code, SAYS_PACKAGES, "/w") == "It lasts."


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


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("!apt-get install -y graphviz ffmpeg", {"apt-get": ["graphviz", "ffmpeg"]}),
        ("!sudo apt -qq install libgl1 && echo done", {"apt": ["libgl1"]}),
        ("%%bash\nset -e\napt-get update; apt-get -y install a; apt-get install b", {"apt-get": ["a", "b"]}),
        ("%conda install -c conda-forge gdal=3.4", {"conda": ["gdal=3.4"]}),
        ("out = !mamba install -y gdal", {"conda": ["gdal"]}),
        ("!apk add --no-cache git", {"apk": ["git"]}),
        ("print('!apt-get install x')", {}),
        ("how = 'apt-get install x'", {}),
        ("!pip install apt", {}),
    ],
)
def test_commands_that_want_to_be_root_are_known(code: str, asked: dict[str, list[str]]) -> None:
    assert installed.system_commands(code) == asked


def test_what_needs_root_is_said_with_the_line_that_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    keep = {"lasts": "It lasts.", "keep": "Keep {lines}"}
    said = installed.system_text("apt-get", ["graphviz"], keep)
    assert said == (
        "apt-get cannot install anything in here: it needs root, and an environment runs as you.\n"
        'Keep apt = ["graphviz"]'
    )
    own = {**keep, "system": "RUN apt-get install -y {packages}"}
    assert installed.system_text("apt-get", ["a", "b"], own).endswith("RUN apt-get install -y a b")
    assert 'pip = ["gdal"]' in installed.system_text("conda", ["gdal"], keep)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert installed.system_text("apt-get", ["graphviz"], keep) == (
        'What apt-get installs in here is part of this environment only, and goes with it.\nKeep apt = ["graphviz"]'
    )


@pytest.mark.parametrize("image", ['base = "b:1"', 'reference = "b:1"', 'dockerfile = "Dockerfile"', "host = true"])
def test_the_line_for_a_package_of_the_system_fits_the_preset(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    made = preset(image, directory=str(tmp_path))
    note = install_hint.note(made, StartRequest("small", str(tmp_path)), ID, "python3")
    said = installed.system_text("apt-get", ["graphviz"], note)
    if image.startswith(("base", "reference")):
        line = next(line for line in said.splitlines() if line.startswith("apt = "))
        assert tomllib.loads(line) == {"apt": ["graphviz"]}
    else:
        assert "apt-get install" in said.splitlines()[-1]
        assert said.splitlines()[-1].endswith("graphviz")


@dataclass
class Shell:
    """IPython with our startup file, in a venv on top of that of the tests, and wheels without an index.

    `top` requires `below`; `mine` is a folder.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.python = overlay.make(sys.executable, sys.prefix, str(self.folder / "venv"))
        startup = self.folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        text = STARTUP.read_text().replace("/opt/jupyter-mlenv/mlenv_agent/ipython", str(self.folder))
        (startup / "00-mlenv.py").write_text(text)
        (self.folder / "keep.json").write_text(json.dumps(SAYS_PACKAGES))
        wheel(self.folder / "wheels", "mlenv_top", "1.5", "mlenv-below")
        wheel(self.folder / "wheels", "mlenv_below", "1.0")

    def run(self, *lines: str) -> list[str]:
        """Return what each line prints."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        more = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.folder / "wheels"), "UV_OFFLINE": "1"}
        more.update(UV_NO_INDEX="1", UV_FIND_LINKS=str(self.folder / "wheels"), IPYTHONDIR=str(self.folder))
        command = [self.python.path, "-m", "IPython", "--no-banner", "--colors=nocolor", "--simple-prompt", "-i"]
        code = "".join(f"{line}\nprint('-- next')\n" for line in lines)
        done = subprocess.run(
            command,
            input=f"{code}exit\n",
            cwd=self.folder,
            env=self.python.environ({**os.environ, **more}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout.split("-- next\n")


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """Write a wheel with one empty module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in (*files.items(), (f"{info}/RECORD", record)):
            file.writestr(path, text)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "shell"
    folder.mkdir()
    shutil.copy(FOLDER / "installed.py", folder)
    return Shell(folder)


UNINSTALL = "!uv pip uninstall -q mlenv-top mlenv-below"


def test_whatever_installs_is_noticed(shell: Shell) -> None:
    (shell.folder / "Makefile").write_text("deps:\n\tpython -m pip install -q mlenv-top\n")
    ways = {
        "%pip install -q mlenv-top": "mlenv-top",
        "!uv pip install -q 'mlenv-top<2'": "mlenv-top<2",
        "subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', 'mlenv' + '-top'])": "mlenv-top==1.5",
        "!make -s deps  # install": "mlenv-top==1.5",
    }
    outputs = shell.run("import subprocess, sys", *(line for way in ways for line in (way, UNINSTALL)))
    for number, (way, spec) in enumerate(ways.items()):
        assert f'It lasts.\nKeep:\npip = ["{spec}"]\n' in outputs[1 + 2 * number], (way, outputs)
        assert "It lasts." not in outputs[2 + 2 * number], outputs


def test_nothing_is_said_where_nothing_was_installed(shell: Shell) -> None:
    outputs = shell.run(
        "%pip install -q mlenv-top",
        "!touch keep.json  # as if the image had brought it along",
        "%pip install mlenv-top",
        "%pip install no-such-package mlenv-top",
        "%pip install --dry-run --ignore-installed mlenv-top",
        "%pip install -q --target elsewhere mlenv-top",
        "!uv pip uninstall -q mlenv-top",
        "1 / 0  # install",
    )
    assert "It lasts." in outputs[0], outputs
    assert "already satisfied" in outputs[2], outputs
    assert "No matching distribution" in outputs[3], outputs
    assert "Would install" in outputs[4], outputs
    assert "It lasts." not in "".join(outputs[1:])


def test_a_cell_that_fails_after_it_has_installed_something_is_told(shell: Shell) -> None:
    [output, _] = shell.run("!pip install -q mlenv-below; false\n1 / 0")[:2]
    assert 'pip = ["mlenv-below"]' in output


def test_a_cell_never_fails_over_it_and_finds_no_name_of_ours(shell: Shell) -> None:
    # As in a container that has lost the rest.
    (shell.folder / "keep.json").unlink()
    [installing, names, _] = shell.run(
        "before = set(globals()); get_ipython().system('pip install -q mlenv-top')",
        "print([name for name in before if 'mlenv' in name])",
    )
    (shell.folder / "installed.py").unlink()
    [other, _] = shell.run("!pip install -q --force-reinstall mlenv-top")
    assert "[]" in names
    assert "rror" not in installing + names + other
