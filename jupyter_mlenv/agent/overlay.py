"""Where a person's own packages go: the interpreter of an environment's kernels and services.

A venv that is read-only, as that of the `host` preset is, gets another venv on top of it, in the home directory. It
lasts as long as the container. pip finds the packages below, neither installs them a second time nor tries to remove
one when it upgrades it, and what lies on top comes first on `sys.path`. Where there is no venv, pip goes to the user's
own site folder by itself, which has to be there before an interpreter starts for that one to look into it.

Loaded by `agent.py`, beside which it lies. Like it: Python >= 3.8, standard library only. The venv is written file by
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

PIP = """#!{python}
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


class Python:
    """`path` is the interpreter to run; `base` the venv below it where there is an overlay, else empty."""

    def __init__(self, path: str, base: str = "", overlay: str = "") -> None:
        self.path, self.base, self.overlay = path, base, overlay

    def environ(self, env: Mapping[str, str]) -> dict[str, str]:
        """Variables with which a process finds the programs and data of both venvs."""
        if not self.overlay:
            return dict(env)
        more = {"PATH": os.pathsep.join([self.overlay + "/bin", env.get("PATH") or os.defpath])}
        if env.get("VIRTUAL_ENV", self.base) == self.base:  # uv installs there; IPython warns of another one's
            more["VIRTUAL_ENV"] = self.overlay
        # What Jupyter's programs look for below `sys.prefix`, which is the overlay for them.
        for name, folder in (("JUPYTER_PATH", "share/jupyter"), ("JUPYTER_CONFIG_PATH", "etc/jupyter")):
            words = [env.get(name, ""), f"{self.overlay}/{folder}", f"{self.base}/{folder}"]
            more[name] = os.pathsep.join(word for word in words if word)
        if os.path.isdir(self.base + "/share/jupyter/lab"):
            more["JUPYTERLAB_DIR"] = env.get("JUPYTERLAB_DIR", self.base + "/share/jupyter/lab")
        return dict(env, **more)


def prepare(executable: str, home: str) -> Python:
    """The interpreter for kernels and services, with a place for packages. Raises OSError, ValueError.

    `executable` is the one that runs this.
    """
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
