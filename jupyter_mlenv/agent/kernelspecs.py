"""The kernelspecs that an image brings along, as jupyter_client would find them in there.

Loaded by `kernels.py`, beside which it lies, for a kernel that names one. Python >= 3.8, standard library only.
Places and precedence: https://docs.jupyter.org/en/stable/use/jupyter-directories.html
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Spec:
    """The part of a kernel.json that concerns whoever starts the kernel."""

    def __init__(self, folder: str, content: Any) -> None:
        argv = content.get("argv") if isinstance(content, dict) else None
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError("it has no argv")
        self.folder, self.argv = folder, argv
        self.env = {name: str(value) for name, value in (content.get("env") or {}).items()}
        self.interrupt_mode = str(content.get("interrupt_mode") or "signal")

    def command(self, python: str) -> list[str]:
        """Return its argv, in which `{connection_file}` is left; a plain python is the one that runs kernels."""
        words = [word.replace("{resource_dir}", self.folder).replace("{prefix}", sys.prefix) for word in self.argv]
        plain = {"python", "python3", "python{}.{}".format(*sys.version_info)}
        return [python, *words[1:]] if words[0] in plain else words

    def environ(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return its variables below those of `env`, in which `${NAME}` means one of `env`."""
        own = {}
        for name, value in self.env.items():
            for other in env:
                value = value.replace("${" + other + "}", env[other])  # noqa: PLW2901
            own[name] = value
        return {**own, **env}


def folders(env: Mapping[str, str], prefixes: list[str]) -> list[str]:
    """Return the folders of kernelspecs, the ones that count first."""
    home = env.get("HOME") or os.path.expanduser("~")
    data = env.get("JUPYTER_DATA_DIR") or os.path.join(env.get("XDG_DATA_HOME") or home + "/.local/share", "jupyter")
    own = [path for path in env.get("JUPYTER_PATH", "").split(os.pathsep) if path]
    shared = [os.path.join(prefix, "share/jupyter") for prefix in [*prefixes, "/usr/local", "/usr"]]
    return [os.path.join(path, "kernels") for path in dict.fromkeys([*own, data, *shared])]


def find(name: str, places: list[str]) -> Spec:
    """Raises LookupError, which names the ones that there are; ValueError for one that is broken."""
    for place in places:
        path = os.path.join(place, name, "kernel.json")
        try:
            with open(path, encoding="utf-8") as file:
                return Spec(os.path.dirname(path), json.load(file))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from None
    there = sorted({entry for place in places if os.path.isdir(place) for entry in os.listdir(place)})
    raise LookupError(", ".join(there) or "none")
