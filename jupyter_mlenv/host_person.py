"""The person on this machine: name, home directory, groups, umask and time zone, as this process has them.

Every function takes what it reads (`env` is a mapping such as `os.environ`), so that nothing is decided at import.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .container_layout import ZONES

_FOOTER = re.compile(rb"\n([^\n]{3,200})\n\Z")
"""The rule of POSIX at the end of a zone's file (RFC 8536, 3.3)."""


def login() -> str:
    """The login name of this process's user; the number where there is no passwd entry."""
    import pwd  # noqa: PLC0415  (not on Windows, where importing the module must not fail)

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def owner(env: Mapping[str, str]) -> str:
    """Return the owner of the environments: the name in JupyterHub, else the login name."""
    return env.get("JUPYTERHUB_USER") or login()


def username() -> str:
    """The name that the person has inside containers; containers cannot hold a number as a user's name."""
    name = login()
    return "jovyan" if name.isdigit() else name


def home() -> str:
    """The home directory of this process's user without links; empty where there is none."""
    path = os.path.expanduser("~")
    return os.path.realpath(path) if os.path.isabs(path) else ""


def groups() -> tuple[tuple[int, str], ...]:
    """The number and name of each group that this process is in beside its first one, in order of numbers."""
    import grp  # noqa: PLC0415  (not on Windows)

    found = []
    for number in sorted(set(os.getgroups()) - {os.getgid()}):
        try:
            name = grp.getgrgid(number).gr_name
        except KeyError:
            name = f"group{number}"
        found.append((number, name))
    return tuple(found)


def umask(status: str = "/proc/self/status") -> int:
    """Return the umask of this process, which Linux shows since 4.7; elsewhere it is set for a moment to be known."""
    try:
        with open(status, encoding="ascii", errors="replace") as file:
            found = next((line.split()[1] for line in file if line.startswith("Umask:")), "")
        return int(found, 8)
    except (OSError, ValueError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def timezone(env: Mapping[str, str], localtime: str = "/etc/localtime", zones: str = ZONES) -> str:
    """Return the local time zone as a value for `TZ`: its name, or a rule of POSIX; empty where none is set.

    `env["TZ"]` counts before the machine's own zone, as it does for every program.
    """
    said = env.get("TZ", "").removeprefix(":")
    if said and not os.path.isabs(said):
        return said
    return _of_file(said or localtime, zones)


def _of_file(path: str, zones: str) -> str:
    real, folder = os.path.realpath(path), os.path.realpath(zones)
    for place in (folder + "/", zones + "/"):
        if real.startswith(place):
            return real[len(place) :].removeprefix("posix/").removeprefix("right/")
    try:
        with open(real, "rb") as file:
            data = file.read(1 << 16)
    except OSError:
        return ""
    rule = _FOOTER.search(data) if data.startswith(b"TZif") else None
    return rule[1].decode("ascii", "replace") if rule else ""
