"""The venv on top of one that is read-only, on the oldest and the newest interpreter of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import jupyter_mlenv.agent
from jupyter_mlenv.agent import overlay
from tests.support.agents import interpreters

PACKAGE = Path(jupyter_mlenv.agent.__file__).parent
OVERLAY = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); from agent import overlay\n"
"""Imports it as in a container, where the package has no parent."""

MAKE = f"""
{OVERLAY}
python = overlay.make(sys.executable, overlay.venv_of(sys.executable), sys.argv[1])
print(python.path, sorted(set(sys.modules) & {{"venv", "subprocess", "sysconfig", "site"}}))
"""

LOOK = """
import json, site, sys
try:
    import below, linked
    found = [below.X, linked.X]
except ImportError as error:
    found = [str(error)]
print(json.dumps({"prefix": sys.prefix, "base": sys.base_prefix, "found": found, "path": sys.path,
                  "user": site.ENABLE_USER_SITE, "own": site.getsitepackages()}))
"""


class Venv:
    """A venv with a module of its own and one that a .pth file brings along, as an editable install does."""

    def __init__(self, interpreter: str, folder: Path) -> None:
        self.folder = folder / "base"
        subprocess.run([interpreter, "-m", "venv", "--without-pip", self.folder], check=True)
        self.python = str(self.folder / "bin" / "python")
        [self.packages] = self.folder.glob("lib/python*/site-packages")
        (self.packages / "below.py").write_text("X = 'below'\n")
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere" / "linked.py").write_text("X = 'linked'\n")
        (self.packages / "editable.pth").write_text(f"{folder / 'elsewhere'}\n")
        self.overlay = folder / "home" / "it's-an-overlay"

    def make(self) -> str:
        """The path of the overlay's interpreter."""
        # As the agent runs: isolated and without `site`, which is what finds a venv.
        command = [self.python, "-I", "-S", "-c", MAKE, self.overlay]
        path, _, modules = run(command).strip().rpartition(" [")
        assert modules == "]", "it needs no module that takes long to import"
        return path

    @property
    def own(self) -> Path:
        """Where packages go."""
        return self.overlay / self.packages.relative_to(self.folder)


def run(command: list[object], env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=[0, -1], ids=["oldest", "newest"])
def venv(request: pytest.FixtureRequest, tmp_path: Path) -> Venv:
    return Venv(interpreters()[request.param], tmp_path)


def test_an_interpreter_on_top_sees_both(venv: Venv) -> None:
    python = venv.make()
    assert python == str(venv.overlay / "bin" / "python")
    seen = json.loads(run([python, "-c", LOOK]))
    below = json.loads(run([venv.python, "-c", LOOK]))
    assert seen["found"] == below["found"] == ["below", "linked"]
    assert (seen["prefix"], seen["base"], seen["user"]) == (str(venv.overlay), below["base"], False)
    assert seen["path"] == [*below["path"][:-2], str(venv.own), *below["path"][-2:]]
    # Debian's Python adds places of its own to every venv.
    assert seen["own"] == [path.replace(below["prefix"], seen["prefix"]) for path in below["own"]]
    assert seen["own"][0] == str(venv.own)
    (venv.own / "below.py").write_text("X = 'newer'\n")
    assert json.loads(run([python, "-c", LOOK]))["found"] == ["newer", "linked"]


def test_made_again_it_stays_as_it_is_or_is_put_right(venv: Venv) -> None:
    python = venv.make()
    files = [path for path in venv.overlay.rglob("*") if not path.is_dir()]
    before = {path: os.lstat(path).st_ino for path in files}
    (venv.own / "mine.py").touch()
    venv.make()
    assert {path: os.lstat(path).st_ino for path in files} == before
    # The start before this one died half-way, and the interpreter has moved meanwhile.
    (venv.overlay / "pyvenv.cfg").write_text("home = /no")
    for path in (venv.overlay / "bin").iterdir():
        path.unlink()
        path.symlink_to("/nowhere")
    (venv.own / "_mlenv.pth").unlink()
    assert venv.make() == python
    assert json.loads(run([python, "-c", LOOK]))["found"] == ["below", "linked"]
    assert (venv.own / "mine.py").exists()


def test_many_at_once_make_one(venv: Venv) -> None:
    command = [venv.python, "-I", "-S", "-c", MAKE, str(venv.overlay)]
    makers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [maker.wait() for maker in makers] == [0] * 8
    assert json.loads(run([venv.make(), "-c", LOOK]))["found"] == ["below", "linked"]
    names = [path.name for path in venv.overlay.rglob("*") if path.suffix.strip(".").isdigit() and len(path.suffix) > 3]
    assert names == [], "no half-made file stays"


def test_a_leftover_of_the_same_process_number_is_no_obstacle(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    for make in (lambda: overlay.write(path, "text"), lambda: overlay.link("target", path)):
        os.symlink("/nowhere", f"{path}.{os.getpid()}")
        make()
    assert os.readlink(path) == "target"


def test_pip_comes_along_where_there_is_one(venv: Venv) -> None:
    venv.make()
    assert not (venv.overlay / "bin" / "pip").exists()
    main = venv.packages / "pip" / "_internal" / "cli" / "main.py"
    main.parent.mkdir(parents=True)
    main.write_text("import sys\ndef main(): print('pip of', sys.prefix)\n")
    venv.make()
    assert run([venv.overlay / "bin" / "pip3"]) == f"pip of {venv.overlay}\n"
    (venv.overlay / "bin" / "pip").write_text("of a newer pip")
    venv.make()
    assert (venv.overlay / "bin" / "pip").read_text() == "of a newer pip"


def test_modules_of_the_venv_below_are_no_edited_modules(venv: Venv) -> None:
    """A zygote that looked at each of a thousand files before every fork would be slow."""
    code = f"""
import sys; sys.path.insert(0, {str(PACKAGE / "kernel_process")!r})
import zygote
alone = len(zygote.stamp())
import below
print(len(zygote.stamp()) - alone)
import linked
print(len(zygote.stamp()) - alone)
"""
    assert run([venv.make(), "-c", code]).split() == ["0", "1"]


def test_there_is_none_where_packages_have_a_place(venv: Venv, tmp_path: Path) -> None:
    code = f"{OVERLAY}python = overlay.prepare(sys.executable, {str(tmp_path)!r}); print(python.path, python.overlay)"
    for python in (venv.python, os.path.realpath(venv.python)):
        assert run([python, "-I", "-S", "-c", code]).split() == [python]
    assert not (tmp_path / overlay.FOLDER).exists()


def test_variables_lead_to_both() -> None:
    plain = overlay.Python("/usr/bin/python3").environ({"PATH": "/bin:/usr/bin", "A": "b"})
    assert plain == {"PATH": "/bin:/usr/bin", "A": "b", "MLENV_PATH": "/bin:/usr/bin"}
    assert overlay.Python("/opt/py/bin/python3").environ({"PATH": "/bin"})["PATH"] == "/opt/py/bin:/bin"
    on_top = overlay.Python("/o/bin/python", "/b", "/o").environ({"PATH": "/b/bin:/bin", "JUPYTER_PATH": "/mine"})
    assert on_top == {
        "PATH": "/o/bin:/b/bin:/bin",
        "MLENV_PATH": "/o/bin:/b/bin:/bin",
        "VIRTUAL_ENV": "/o",
        "JUPYTER_PATH": "/mine:/o/share/jupyter:/b/share/jupyter",
        "JUPYTER_CONFIG_PATH": "/o/etc/jupyter:/b/etc/jupyter",
    }
    assert overlay.Python("/o/bin/python", "/b", "/o").environ({"VIRTUAL_ENV": "/b"})["VIRTUAL_ENV"] == "/o"
    # Another one's, as an image may set it: uv would install there.
    assert overlay.Python("/o/bin/python", "/b", "/o").environ({"VIRTUAL_ENV": "/x"})["VIRTUAL_ENV"] == "/o"
    elsewhere = {"PATH": "/usr/local/bin:/usr/bin", "VIRTUAL_ENV": "/x", "CONDA_PREFIX": "/y"}
    assert overlay.Python("/usr/bin/python3").environ(elsewhere) == {
        "PATH": "/usr/local/bin:/usr/bin",
        "MLENV_PATH": "/usr/local/bin:/usr/bin",
    }


def test_a_venv_is_found_as_python_finds_it(tmp_path: Path) -> None:
    assert overlay.venv_of(sys.executable) == ("" if sys.prefix == sys.base_prefix else sys.prefix)
    for config in ("pyvenv.cfg", "bin/pyvenv.cfg"):
        folder = tmp_path / config.replace("/", "-")
        (folder / "bin").mkdir(parents=True)
        assert overlay.venv_of(str(folder / "bin" / "python")) == ""
        (folder / config).touch()
        assert overlay.venv_of(str(folder / "bin" / "python")) == str(folder)


def test_programs_of_another_python_are_hidden(venv: Venv, tmp_path: Path) -> None:
    """As an image has them whose interpreter is a venv that is not on the path, and has no pip."""
    system = tmp_path / "system"
    system.mkdir()
    for name in overlay.PROGRAMS:
        (system / name).write_text("#!/bin/sh\necho another\n")
        (system / name).chmod(0o755)
    code = f"import json, os\n{OVERLAY}"
    code += f"python = overlay.prepare(sys.executable, {str(tmp_path / 'home')!r})\n"
    code += "print(json.dumps(python.environ(dict(os.environ))))"
    path = f"{system}{os.pathsep}{os.defpath}"
    env = json.loads(run([venv.python, "-I", "-S", "-c", code], {"PATH": path, "VIRTUAL_ENV": "/elsewhere"}))
    assert env["VIRTUAL_ENV"] == str(venv.folder)
    for name in ("python", "python3"):
        assert run(["sh", "-c", f"{name} -c 'import sys; print(sys.prefix)'"], env).strip() == str(venv.folder)
    done = subprocess.run(["sh", "-c", "pip install x"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"{venv.python}: No module named pip" in done.stderr
