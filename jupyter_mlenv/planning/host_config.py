"""Configuration below the prefixes that the preset `host` mounts: it stays out, but for which server extensions are on.

Jupyter, IPython, pip, conda and npm read settings below the prefix of a Python or of the machine, and these hold
password hashes and tokens of the server around, and of package indexes. So the container finds those places empty.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence

from ..engines.model import FileEntry
from ..mounts import inside

FOLDERS = ("etc", "share/jupyter/lab/settings", "condarc.d")
"""Folders of configuration below a prefix. `etc` is nothing else by definition
(https://refspecs.linuxfoundation.org/FHS_3.0/fhs/ch04s09.html)."""

EXTENSIONS = "/etc/jupyter/jupyter_server_config.d/mlenv-host.json"
"""The file that tells the container's JupyterLab which server extensions are on."""

_CONFIG = re.compile(r"\..+|condarc|.+\.(conf|cfg|ini|env|json|ya?ml|toml)")
_HARMLESS = ("pyvenv.cfg", ".gitignore", ".lock", ".done")
_MAX_FILE_BYTES = 1 << 20  # bytes of a file that says which extensions are on


def hidden(prefixes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Folders and files, below prefixes that are mounted, that a container is to find empty; only what is there.

    Directly in a prefix lie few files, of which only `pyvenv.cfg` is needed: those that are called as configuration is
    (`pip.conf`, `.condarc`, `.env`) are left out, and so are folders whose name begins with a dot.
    """
    folders = [f"{prefix}/{name}" for prefix in [*prefixes, "/usr/local"] for name in FOLDERS]
    files: list[str] = []
    for prefix in prefixes:
        for entry in _entries(prefix):
            if entry.name in _HARMLESS or not _CONFIG.fullmatch(entry.name):
                continue
            if entry.is_file():
                files.append(entry.path)
            elif entry.is_dir() and entry.name.startswith("."):
                folders.append(entry.path)
    real = {prefix: os.path.realpath(prefix) for prefix in prefixes}
    empty = _in_the_container(filter(os.path.isdir, folders), real)
    # A prefix may lie in such a folder of another one (`.pixi/envs/default`), which is needed then.
    empty = [folder for folder in empty if not any(inside(prefix, folder) for prefix in prefixes)]
    empty = [folder for folder in empty if not any(folder != other and inside(folder, other) for other in empty)]
    return tuple(empty), tuple(
        f for f in _in_the_container(files, real) if not any(inside(f, folder) for folder in empty)
    )


def _in_the_container(paths: Iterable[str], real: Mapping[str, str]) -> list[str]:
    """Return the paths as they are inside the container, links followed; without what is not in it.

    `real` is where each prefix leads on the host; in the container it is a folder by its own name.
    """
    found = []
    for path in map(os.path.realpath, paths):
        found += [prefix + path[len(place) :] for prefix, place in real.items() if inside(path, place)][:1]
    return list(dict.fromkeys(found))


def files(prefixes: Iterable[str]) -> list[FileEntry]:
    """For the container: which Jupyter server extensions are on below these prefixes and on this machine.

    Nothing but names and yes or no gets in. Ours stays off: an environment has no environments.
    """
    on: dict[str, bool] = {}
    for prefix in ["", "/usr/local", *prefixes]:  # what counts most comes last
        on.update(_enabled(f"{prefix}/etc/jupyter"))
    on.pop("jupyter_mlenv", None)
    data = json.dumps({"ServerApp": {"jpserver_extensions": on}}, sort_keys=True).encode()
    folder = os.path.dirname(EXTENSIONS)
    parents = [FileEntry(os.path.dirname(folder), None, 0o755), FileEntry(folder, None, 0o755)]
    return [*parents, FileEntry(EXTENSIONS, data)]


def _enabled(folder: str) -> dict[str, bool]:
    parts = [entry.path for entry in _entries(f"{folder}/jupyter_server_config.d") if entry.name.endswith(".json")]
    found: dict[str, bool] = {}
    for path in [*parts, f"{folder}/jupyter_server_config.json"]:
        try:
            said = json.loads(_read(path))["ServerApp"]["jpserver_extensions"]
            found.update({name: value for name, value in said.items() if isinstance(value, bool)})
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            continue  # it is not there, or says nothing about extensions
    return {name: value for name, value in found.items() if all(part.isidentifier() for part in name.split("."))}


def _read(path: str) -> bytes:
    """The start of a regular file. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return file.read(_MAX_FILE_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
