"""Pure: how a package that was installed in an environment is kept for good, in words for the person who did it.

Decided when the environment is planned; `agent/ipython/installed.py` fills in the packages that a cell has installed.
"""

from __future__ import annotations

import os
import shlex

from typing_extensions import assert_never

from ..presets import DEFAULT_NAME, WORKSPACE_FILE
from ..presets.model import BuiltImage, DockerfileImage, HostImage, Preset, PulledImage
from ..serialization import toml_text
from .model import ISOLATED, StartRequest

_START = ("jupyter", "mlenv", "start")
_ADD_KERNEL = ("jupyter", "mlenv", "kernels", "add")

PACKAGES = "{packages}"
"""Replaced by the packages as arguments of `pip install`."""

LINES = "{lines}"
"""Replaced by the packages as lines of the table `[image]`."""


def note(preset: Preset, request: StartRequest, id: str, python: str) -> dict[str, str]:
    """Return the texts for `agent/ipython/installed.py`.

    Returns
    -------
    dict
        `lasts`: how long it lasts. `keep`: how to keep it. `file`: the preset file to write, where there is one; if it
        is there by then `change` says how. Paths of requirements files are written relative to `file`. `system`: how to
        keep a package of the system, where that differs from `keep` by more than its lines.
    """
    return {"lasts": _lasts(preset, request, id), **_keep(preset, request, python)}


def _lasts(preset: Preset, request: StartRequest, id: str) -> str:
    if _isolated(preset, request):
        return f"Installed in the environment {id}, which is removed when this kernel ends."
    return f"Installed in the environment {id}. It stays when that is stopped or restarted, until it is removed."


def _keep(preset: Preset, request: StartRequest, python: str) -> dict[str, str]:
    image, anew = preset.image, _anew(preset, request)
    match image:
        case HostImage():
            how = "To keep it for good, install it into this machine's own Python, in a terminal outside of here:"
            system = "To have it, install it on this machine, in a terminal outside of here:"
            return {
                "keep": f"{how}\n{shlex.quote(python)} -m pip install {PACKAGES}",
                "system": f"{system}\nsudo apt-get install {PACKAGES}",
            }
        case DockerfileImage():
            path = os.path.join(preset.directory, image.dockerfile)
            how = f"To keep it for good, add this to {path}, then run {anew}"
            return {
                "keep": f"{how}\nRUN pip install {PACKAGES}",
                "system": f"{how}\nRUN apt-get update && apt-get install -y {PACKAGES}",
            }
        case PulledImage():
            # Packages work only with `base`: this preset becomes one that builds upon the image.
            base, what = f"base = {toml_text(image.reference)}\n", "put this in the place of `reference` in"
        case BuiltImage():
            base, what = "", "add this to"
        case _:
            assert_never(image)
    if preset.source != "catalog":
        return {
            "file": preset.source,
            "keep": f"To keep it for good, {what} [image] in {preset.source}, then run {anew}\n{base}{LINES}",
        }
    file = os.path.join(request.workspace, WORKSPACE_FILE)
    # A preset of the project's own beside this one, whose name it may not take.
    own = [
        f"`{shlex.join([*words, DEFAULT_NAME, '--workspace', request.workspace])}`" for words in (_START, _ADD_KERNEL)
    ]
    then = f"{own[0]} starts an environment with it, and {own[1]} adds its kernel to the menu:"
    extends = f"extends = {toml_text(preset.name)}\n"
    return {
        "file": file,
        "keep": f"To keep it for good, write this into {file}. Then {then}\n{extends}\n[image]\n{base}{LINES}",
        "change": f"To keep it for good, use the preset of {file}, with this in its [image]:\n{LINES}",
    }


def _anew(preset: Preset, request: StartRequest) -> str:
    words = [*_START, preset.name, "--workspace", request.workspace]
    if not _isolated(preset, request):
        words += ["--name", request.name] if request.name else []
        words.append("--recreate")
        return f"`{shlex.join(words)}`, which removes what else was installed:"
    return f"`{shlex.join(words)}`:"


def _isolated(preset: Preset, request: StartRequest) -> bool:
    return preset.kernel.isolate and request.name.startswith(ISOLATED)
