"""Sizes as people write them. Pure."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)

SMALLEST_MEMORY_BYTES = 6 * 1024**2
"""Bytes; Docker refuses a smaller memory limit (https://docs.docker.com/engine/containers/resource_constraints/)."""


def parse_size(text: str) -> int:
    """`"8g"`, `"512 MiB"`, `"1.5G"` or plain bytes, in powers of 1024 as engines have it. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > 30:
        raise ValueError(f"{text[:40]!r} is not a size; write for example 8g, 512m or a number of bytes")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
