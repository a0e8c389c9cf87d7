"""Files of the agent: variables and settings beside the package, sockets in the run directory."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from typing import Any

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder that the package lies in, as do the files that are put in with it."""

ENTRYPOINT = os.path.join(FOLDER, "entrypoint.json")
"""The image's entrypoint, a list of words, where it has one."""


def read_variables() -> None:
    """Make the environment's variables ours, and so those of all that we start: the engine does not show them."""
    try:
        with open(os.path.join(FOLDER, "environ"), "rb") as file:
            words = file.read().split(b"\0")
    except FileNotFoundError:
        return
    for word in words:
        name, equals, value = word.partition(b"=")
        if name and equals:
            os.environb[name] = value


def service_variables(endpoint: str) -> dict[str, Any]:
    """Return the variables of an endpoint's services."""
    import json  # noqa: PLC0415

    try:
        with open(os.path.join(FOLDER, "services.json"), encoding="utf-8") as file:
            return dict(json.load(file).get(endpoint, {}))
    except (OSError, ValueError):
        return {}


def conda_prefix(executable: str) -> str:
    """The conda environment that an interpreter is in, if activating it does anything; else empty."""
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(executable)))
    if not os.path.isdir(prefix + "/conda-meta"):
        return ""
    places = ("etc/conda/activate.d", "etc/conda/env_vars.d", "conda-meta/state")
    return prefix if any(os.path.exists(f"{prefix}/{place}") for place in places) else ""


def shell_sets_something(executable: str) -> bool:
    """Return whether the image has an entrypoint, or a conda environment to activate; a few looks at files."""
    return os.path.exists(ENTRYPOINT) or bool(conda_prefix(executable))


def identity(path: str) -> list[int] | None:
    """Return device and inode of what lies at a path, links followed."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_dev, found.st_ino]


def remove(path: str) -> None:
    """Remove a file if it is there."""
    try:  # noqa: SIM105
        os.unlink(path)
    except FileNotFoundError:
        pass


def sweep(run_dir: str) -> None:
    """Remove sockets and files of what ran in a life of this environment that ended without taking leave."""
    for name in os.listdir(run_dir):
        if name.startswith(("k-", "s-")):
            remove(os.path.join(run_dir, name))
