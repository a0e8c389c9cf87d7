"""Variables of the program that starts a kernel or a shell, as far as they go into the environment. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

ALWAYS = ("KERNEL_*",)
"""Patterns of variables that are meant for kernels, as gateways of Jupyter have it."""

HOST_ONLY = frozenset(
    (
        "HOME",
        "HOSTNAME",
        "JPY_PARENT_PID",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "MLENV_ID",
        "MLENV_PRESET",
        "MLENV_WORKSPACE",
        "PATH",
        "PWD",
        "PYTHONEXECUTABLE",
        "PYTHONHOME",
        "PYTHONPATH",
        "SHELL",
        "TMPDIR",
        "USER",
        "VIRTUAL_ENV",
        "XDG_RUNTIME_DIR",
    )
)
"""Variables that mean something else inside: they stay out whoever sets them."""

_CREDENTIAL = re.compile(r"JUPYTERHUB_.*|JUPYTER_TOKEN|JPY_API_TOKEN|CONFIGPROXY_AUTH_TOKEN")


def passed(ours: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Return the variables of this process that go in: those that a pattern names, and `KERNEL_*`.

    Parameters
    ----------
    patterns
        Names, or beginnings of names with a `*` behind them. Credentials of a Jupyter server go in by none.
    """
    return {name: value for name, value in ours.items() if may_enter(name) and _named(name, (*ALWAYS, *patterns))}


def may_enter(name: str) -> bool:
    """Return whether a variable of this name may go in at all."""
    return name not in HOST_ONLY and not _CREDENTIAL.fullmatch(name)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)
