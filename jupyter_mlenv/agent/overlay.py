"""The interpreter of an environment's kernels and services, and the place of a person's own packages.

A venv that is read-only, as that of the `host` preset is, gets another venv on top of it, in the home directory. It
lasts as long as the container. pip finds the packages below, neither installs them a second time nor tries to remove
one when it upgrades it, and what lies on top comes first on `sys.path`. Where there is no venv, pip goes to the user's
own site folder by itself, which has to be there before an interpreter starts for that one to look into it.

Part of the agent: Python >= 3.8, standard library only. The venv is written file by
file, since `venv` would import 15 modules and run a process.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = ".local/share/jupyter-mlenv/venv"
"""The overlay, below the home directory."""

SHIMS = ".local/share/jupyter-mlenv/bin"
"""The folder of stand-ins for programs that the interpreter lacks, below the home directory."""

PROGRAMS = ("python", "python3", "pip", "pip3")
"""By which a shell finds a Python."""

PIP = """#!{python}
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


class Python:
    """`path` is the interpreter to run; `base` the venv below it where there is an overlay, else empty.

    `shims` is a folder of `stand_ins`, empty where there is none.
    """

    def __init__(self, path: str, base: str = "", overlay: str = "", shims: str = "") -> None:
        self.path, self.base, self.overlay, self.shims = path, base, overlay, shims

    def environ(self, env: Mapping[str, str]) -> dict[str, str]:
        """Variables with which a process finds this Python, and the programs and data of both venvs, before others.

        `!pip install` and `uv pip install` go where the kernel looks: to this interpreter, whatever else an image has
        on its path or says in `VIRTUAL_ENV` and `CONDA_PREFIX`.
        """
        folder = os.path.dirname(self.path)
        prefix = os.path.dirname(folder)
        inside = {"VIRTUAL_ENV": self.overlay or venv_of(self.path)}
        inside["CONDA_PREFIX"] = prefix if os.path.isdir(prefix + "/conda-meta") else ""
        path = before(folder, env.get("PATH") or os.defpath, own=any(inside.values()))
        more = {"PATH": before(self.shims, path, own=True) if self.shims else path}
        more.update({name: value for name, value in inside.items() if value})
        more["MLENV_PATH"] = more["PATH"]  # for login shells, whose /etc/profile sets another one
        env = {name: value for name, value in env.items() if inside.get(name, value)}
        if not self.overlay:
            return dict(env, **more)
        # What Jupyter's programs look for below `sys.prefix`, which is the overlay for them.
        for name, folder in (("JUPYTER_PATH", "share/jupyter"), ("JUPYTER_CONFIG_PATH", "etc/jupyter")):
            words = [env.get(name, ""), f"{self.overlay}/{folder}", f"{self.base}/{folder}"]
            more[name] = os.pathsep.join(word for word in words if word)
        if os.path.isdir(self.base + "/share/jupyter/lab"):
            more["JUPYTERLAB_DIR"] = env.get("JUPYTERLAB_DIR", self.base + "/share/jupyter/lab")
        return dict(env, **more)


def of(program: str, env: Mapping[str, str]) -> dict[str, str]:
    """The variables for a kernel whose argv names another Python than the one that runs kernels."""
    named = os.path.isabs(program) and os.path.basename(program).startswith("python")
    return Python(program).environ(env) if named else dict(env)


def before(folder: str, path: str, *, own: bool) -> str:
    """A search path with the folder in it: first if it is an environment's `own`, else where it is already.

    A program of /usr/local/bin is to go on winning over one of the system, whose Python may be the one that runs.
    """
    words = path.split(os.pathsep)
    if folder in words and not own:
        return path
    return os.pathsep.join([folder, *(word for word in words if word != folder)])


def stand_ins(python: Python, home: str, path: str) -> str:
    """A folder with programs that would be another Python's by this search path. Raises OSError.

    A venv of uv has no `pip`, so that `!pip install` would install into the Python of the system, and nobody would
    know. Empty if there is none.
    """
    folder, words = os.path.dirname(python.path), python.environ({"PATH": path})["PATH"].split(os.pathsep)
    found = {name: next((w for w in words if os.access(os.path.join(w, name), os.X_OK)), folder) for name in PROGRAMS}
    foreign = [name for name, place in found.items() if place != folder]
    if not foreign:
        return ""
    shims = os.path.join(home, SHIMS)
    os.makedirs(shims, exist_ok=True)
    quoted = "'" + python.path.replace("'", "'\\''") + "'"
    for name in foreign:
        module = " -m pip" if name.startswith("pip") else ""
        write(os.path.join(shims, name), f'#!/bin/sh\nexec {quoted}{module} "$@"\n', 0o755)
    return shims


def prepare(executable: str, home: str) -> Python:
    """The interpreter for kernels and services, with a place for packages. Raises OSError, ValueError.

    `executable` is the one that runs this.
    """
    python = place(executable, home)
    try:  # noqa: SIM105
        python.shims = stand_ins(python, home, os.environ.get("PATH") or os.defpath)
    except OSError:
        pass  # a home directory that is full or read-only is no reason to have no place for packages
    return python


def place(executable: str, home: str) -> Python:
    """Return the interpreter, without stand-ins. Raises OSError, ValueError."""
    base = venv_of(executable)
    if not base:
        if not os.access(os.path.dirname(os.__file__), os.W_OK):
            import site  # noqa: PLC0415

            os.makedirs(site.getusersitepackages(), exist_ok=True)
        return Python(executable)
    # A folder of a read-only mount is not writable either, for nobody.
    packages = site_packages(base)
    if not os.path.isdir(packages) or os.access(packages, os.W_OK):
        return Python(executable)
    return make(executable, base, os.path.join(home, FOLDER))


def venv_of(executable: str) -> str:
    """The prefix of the venv that an interpreter is in, found as `site` finds it; empty if it is in none."""
    folder = os.path.dirname(os.path.abspath(executable))
    return os.path.dirname(folder) if config_of(folder) else ""


def config_of(folder: str) -> str:
    places = (folder + "/pyvenv.cfg", os.path.dirname(folder) + "/pyvenv.cfg")
    return next((path for path in places if os.path.isfile(path)), "")


def site_packages(prefix: str) -> str:
    # The library's own folder has the name, which may be that of a build without a global lock: python3.13t
    return os.path.join(prefix, "lib", os.path.basename(os.path.dirname(os.__file__)), "site-packages")


def make(executable: str, base: str, overlay: str) -> Python:
    """The overlay, whatever of it is there already. Raises OSError.

    Everything is written again that is not as it should be: the interpreter may be a newer one than when the container
    was stopped. Each file comes into being as a whole, so whoever looks meanwhile sees the old or the new one.
    """
    python = overlay + "/bin/python"
    packages = site_packages(overlay)
    for folder in (overlay + "/bin", packages):
        os.makedirs(folder, exist_ok=True)
    for name in ("python", "python3", "python{}.{}".format(*sys.version_info)):
        link(executable, f"{overlay}/bin/{name}")
    if os.path.isdir(base + "/lib64"):
        link("lib", overlay + "/lib64")
    if os.path.isdir(base + "/etc/ipython"):
        os.makedirs(overlay + "/etc", exist_ok=True)
        link(base + "/etc/ipython", overlay + "/etc/ipython")
    with open(config_of(os.path.dirname(os.path.abspath(executable))), encoding="utf-8") as file:
        write(overlay + "/pyvenv.cfg", file.read())
    below = site_packages(base)
    write(packages + "/_mlenv.pth", f"import site; site.addsitedir({below!r})\n")
    for name in ("pip", "pip3"):
        if os.path.isdir(below + "/pip") and not os.path.lexists(f"{overlay}/bin/{name}"):
            write(f"{overlay}/bin/{name}", PIP.format(python=python), 0o755)
    return Python(python, base, overlay)


def link(target: str, path: str) -> None:
    if not os.path.islink(path) or os.readlink(path) != target:
        new = unused(path)
        os.symlink(target, new)
        os.replace(new, path)


def write(path: str, text: str, mode: int = 0o644) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    new = unused(path)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)


def unused(path: str) -> str:
    """A name beside it. Whoever had it before is dead: in a container, numbers of processes come again."""
    new = f"{path}.{os.getpid()}"
    if os.path.lexists(new):
        os.unlink(new)
    return new
