"""The file of a time zone on this machine, for containers whose image may know no time zones at all."""

from __future__ import annotations

import os
import re

from ..container_layout import ZONES
from .model import Zone

MAX_BYTES = 1 << 16
"""Bytes of a time zone's file; the largest has 4,000."""

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def read(name: str, folder: str = ZONES) -> Zone | None:
    """Return the zone of this name from this machine's database; None if there is none, or it is a rule of POSIX."""
    if not _NAME.fullmatch(name):
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read(MAX_BYTES)
    except OSError:
        return None
    return Zone(name, data) if data.startswith(b"TZif") else None
