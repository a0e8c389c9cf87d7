"""The body of `PUT /v1/kernels/{id}`."""

from __future__ import annotations

import os

from .http import Refused, want

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class KernelRequest:
    """A checked request for a kernel. Raises Refused."""

    def __init__(self, body: dict[str, Any], run_dir: str) -> None:
        self.connection = want(body, "connection", dict)
        self.argv: list[str] | None = None if body.get("argv") is None else want(body, "argv", "argv")
        self.env = {name: str(value) for name, value in want(body, "env", "map", {}).items()}
        self.cwd = want(body, "cwd", str, "") or os.getcwd()
        self.preload = [] if not body.get("preload") else want(body, "preload", "argv")
        self.spec: str = want(body, "spec", str, "")
        self.interrupt_mode = ""  # what the spec says
        self.fork = want(body, "fork", bool, True) and self.argv is None and not self.spec
        self.note = want(body, "note", dict, {})
        self.alone = want(body, "alone", bool, False)
        self.timeout, self.grace = want(body, "timeout", float, 60.0), want(body, "grace", float, 60.0)
        if not os.path.isdir(self.cwd):
            raise Refused(422, "command_failed", f"There is no folder {self.cwd} in the environment.")
        self.addresses = addresses(self.connection, run_dir)


def addresses(connection: dict[str, Any], run_dir: str) -> list[str | int]:
    """Return the paths or ports of a kernel's five sockets. Raises Refused."""
    transport, ip = want(connection, "transport", str, "tcp"), want(connection, "ip", str)
    ports = [want(connection, f"{name}_port", int) for name in CHANNELS]
    if not all(0 < port < 65536 for port in ports) or len(set(ports)) < len(ports):
        raise Refused(400, "bad_request", "The connection needs five ports that differ.")
    if transport == "tcp" and ip in {"127.0.0.1", "0.0.0.0", "*"}:  # noqa: S104  it is the kernel's choice
        return list(ports)
    # The agent removes these files, so they lie where it alone makes some.
    if transport == "ipc" and os.path.dirname(ip) == run_dir and os.path.basename(ip).startswith("k-"):
        return [f"{ip}-{port}" for port in ports]
    text = "A kernel listens on 127.0.0.1 by tcp or below {}/k-… by ipc, not on {} by {}."
    raise Refused(400, "bad_request", text.format(run_dir, ip, transport))
