"""Connection and variables that go into the environment with a kernel. Pure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .. import caller_env
from ..container_layout import RUN_DIR


def environment_variables(
    given: Mapping[str, str], ours: Mapping[str, str], pass_env: Sequence[str] = ()
) -> dict[str, str]:
    """Return the variables that go in, of those that a caller gave.

    `given` is usually a copy of `ours`, this process's environment, with a few variables added or changed (the name of
    the notebook, what the kernelspec or the caller says). Those go in. Of this machine's own variables only those do
    that the patterns of `pass_env` name.
    """
    own = {name: value for name, value in given.items() if caller_env.may_enter(name) and ours.get(name) != value}
    return {**caller_env.passed(given, pass_env), **own}


def socket_prefix(kernel_id: str) -> str:
    """Return the beginning of the names of a kernel's sockets in the run directory: `k-` and 12 hex digits.

    Short, since a socket's path holds 107 bytes, and always the same for a kernel, so that restarts keep it.
    """
    return f"k-{hashlib.sha256(kernel_id.encode()).hexdigest()[:12]}-ipc"


def as_json(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection with its key as a text."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in info.items()}


def inner_connection(info: Mapping[str, Any], kernel_name: str) -> dict[str, Any]:
    """Return the connection file that the kernel reads, from the one of this machine: the sockets' folder differs."""
    inner = as_json(info)
    inner["kernel_name"] = kernel_name
    if inner["transport"] == "ipc":
        inner["ip"] = f"{RUN_DIR}/{os.path.basename(inner['ip'])}"
    return inner
