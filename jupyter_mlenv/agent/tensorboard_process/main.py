"""Runs TensorBoard over all runs of a project, as `python main.py PROJECT [OPTION …]`; the options are TensorBoard's.

New runs are found while it runs. Python >= 3.8, standard library only, beside TensorBoard itself.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import tempfile
import threading
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

INTERVAL_SECONDS = 5.0
"""Seconds between two looks for runs, as TensorBoard's own; more where a look takes long."""

SHARE = 50
"""A look takes at most one part in so many of the time."""


def main() -> None:
    """Run until TensorBoard ends."""
    folder = os.path.dirname(os.path.realpath(__file__))
    if sys.path and os.path.realpath(sys.path[0]) == folder:  # not with PYTHONSAFEPATH
        sys.path[0] = os.getcwd()
    project, *options = sys.argv[1:]
    runs = load(folder, "runs").Runs(project, tempfile.mkdtemp(prefix="tensorboard-"))
    runs.refresh()
    threading.Thread(target=follow, args=[runs], daemon=True).start()
    if importlib.util.find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = pkg_resources()
    sys.argv = ["tensorboard", "--logdir", runs.farm, *options]
    try:
        importlib.import_module("tensorboard")  # whose error is shorter
        runpy.run_module("tensorboard.main", run_name="__main__", alter_sys=True)
    except ImportError as error:
        sys.exit(f"TensorBoard cannot be imported here: {error}")


def load(folder: str, name: str) -> Any:
    """A module beside this one, by its path: what a project imports by the name is its own."""
    spec: Any = importlib.util.spec_from_file_location(f"mlenv_{name}", os.path.join(folder, f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def follow(runs: Any) -> None:
    while True:
        begun = time.monotonic()
        runs.refresh()
        time.sleep(max(INTERVAL_SECONDS, SHARE * (time.monotonic() - begun)))


def pkg_resources() -> types.ModuleType:
    """The two functions that TensorBoard before 2.21 takes from setuptools, which has lost them with version 82."""
    module = types.ModuleType("pkg_resources")
    vars(module).update(iter_entry_points=iter_entry_points, parse_version=parse_version)
    return module


def iter_entry_points(group: str, name: str | None = None) -> Iterator[Any]:
    """Yield what packages announce, each with `load` and `resolve`."""
    import importlib.metadata  # noqa: PLC0415

    every: Any = importlib.metadata.entry_points()
    found = every.select(group=group) if hasattr(every, "select") else every.get(group, ())  # Python 3.10 | before
    for point in found:
        if name in (None, point.name):
            yield types.SimpleNamespace(name=point.name, load=point.load, resolve=point.load)


def parse_version(text: str) -> Any:
    """Return a version that can be compared with others."""
    try:
        return importlib.import_module("packaging.version").parse(text)
    except ImportError:
        return [int(word) for word in text.split(".") if word.isdigit()]


if __name__ == "__main__":
    main()
