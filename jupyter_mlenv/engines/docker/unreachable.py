"""The errors of an engine that does not answer, and how a person gets one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import EngineError, EnginePermission, EngineUnavailable
from .endpoint import EngineEndpoint

_NOBODY = {errno.ENOENT, errno.ECONNREFUSED}
"""Errors that say that nothing listens."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all it was made from: by `raise from`, by context, and in its arguments as requests does it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        linked = (current.__cause__, current.__context__, *current.args)
        waiting.extend(link for link in linked if isinstance(link, BaseException))


def unreachable(error: BaseException, endpoint: EngineEndpoint) -> EngineError:
    """The error of an engine that could not be asked, by what the attempt ended with."""
    # An ssl.SSLError is an OSError too, but its numbers are OpenSSL's: 1 is not EPERM there.
    system = [cause for cause in causes(error) if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError)]
    numbers = {cause.errno for cause in system if cause.errno}
    details = {"url": endpoint.url, "origin": endpoint.origin}
    if numbers & {errno.EACCES, errno.EPERM}:
        return EnginePermission(
            f"You may not use the engine at {endpoint.url}: permission denied.",
            hint="Join its group with `sudo usermod -aG docker $USER`, then log out and in again "
            "(and restart Jupyter). Members of that group can act as root on this machine.",
            details=details,
        )
    if "paramiko" in str(error).lower():
        return EngineUnavailable(
            f"The engine URL {endpoint.url} needs paramiko, which is not installed.",
            hint="`pip install paramiko` next to jupyter_mlenv, or unset the ssh:// engine.",
            details=details,
        )
    if any("timed out" in str(cause).lower() for cause in causes(error)) and not numbers & _NOBODY:
        return EngineUnavailable(
            f"The container engine at {endpoint.url} ({endpoint.origin}) does not answer: it did not say anything in "
            "time.",
            hint="It may be starting, or be very busy: try again in a moment. `docker version` in a terminal says "
            "whether it answers there.",
            details=details,
        )
    reason = _reason(error, numbers)
    return EngineUnavailable(
        f"No container engine answers at {endpoint.url} ({endpoint.origin}): {reason}.",
        hint=start_hint(endpoint, os.environ),
        details=details,
    )


def _reason(error: BaseException, numbers: set[int]) -> str:
    if errno.ENOENT in numbers:
        return "there is no such socket"
    if errno.ECONNREFUSED in numbers:
        return "nothing listens there"
    if numbers & {errno.EMFILE, errno.ENFILE}:
        return "this process has no file descriptor left to connect with (see `ulimit -n`)"
    *_, root = causes(error)
    if isinstance(root, (ValueError, KeyError, TypeError)):  # of a reader: what answered was no engine
        return f"what answers there does not speak Docker's API ({type(root).__name__})"
    return str(root).rstrip(".") or type(root).__name__


def start_hint(endpoint: EngineEndpoint, environ: Mapping[str, str]) -> str:
    """Return the hint how to get an engine on this system."""
    if endpoint.origin == "DOCKER_HOST":
        return "Check DOCKER_HOST, or unset it to use the local engine."
    if endpoint.origin.startswith("the docker context"):
        return "Start that engine, or go back to the local one with `docker context use default`."
    if endpoint.socket.endswith("/podman.sock"):
        user = "" if endpoint.socket.startswith("/run/podman/") else "--user "
        return f"Start its service: `systemctl {user}enable --now podman.socket`, or `podman system service --time=0`."
    if "BINDER_SERVICE_HOST" in environ or "JUPYTERHUB_API_URL" in environ:
        return (
            "This Jupyter runs on a hub (such as Binder) that offers no container engine to it. "
            "Run jupyter_mlenv on a machine with Docker, or ask the hub's administrator."
        )
    if sys.platform != "linux":
        return "Start Docker Desktop (https://docs.docker.com/desktop/)."
    if shutil.which("dockerd") or os.path.exists("/usr/sbin/dockerd"):
        return "Start it: `sudo systemctl start docker`" + (
            "." if os.path.isdir("/run/systemd/system") else ", or `sudo dockerd &` where there is no service manager."
        )
    if _is_debian():
        return "Install and start one: `sudo apt-get install docker.io`, then `sudo systemctl start docker`."
    return "Install Docker Engine: https://docs.docker.com/engine/install/"


def _is_debian() -> bool:
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"^ID(_LIKE)?=.*\b(debian|ubuntu)\b", release, re.MULTILINE))
