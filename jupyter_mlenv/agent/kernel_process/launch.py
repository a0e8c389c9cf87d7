"""Runs ipykernel as `python -m ipykernel_launcher` does, with outputs that wait for slow clients (`iopub.py`).

Started by the agent as `<python> launch.py -f <connection file>`. Python >= 3.8, standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULE = "ipykernel_launcher"


def main() -> None:
    """To the kernel everything is as with `-m`: path, arguments, main module."""
    folder = os.path.dirname(os.path.realpath(__file__))
    if sys.path and os.path.realpath(sys.path[0]) == folder:  # not with PYTHONSAFEPATH
        sys.path[0] = os.getcwd()
    # By its path: what a notebook imports by the name is its own.
    spec: Any = importlib.util.spec_from_file_location("mlenv_iopub", os.path.join(folder, "iopub.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:  # noqa: SIM105  as short as it can be: every start waits for it
        module.install()
    except ImportError:
        pass  # without ipykernel, which says so itself below
    sys.argv[0] = MODULE
    sys.orig_argv = [sys.executable, "-m", MODULE, *sys.argv[1:]]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
