"""Points in time as engines and JSON write them (RFC 3339), and as Python has them: aware, in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?")


def parse(text: object) -> datetime | None:
    """The time that a text says, to the microsecond; one without an offset is in UTC.

    `None` for what is no time, and for Go's zero time `0001-01-01T00:00:00Z`, which engines write where there is none.
    Not by `datetime.fromisoformat`: it reads neither `Z` nor nanoseconds before Python 3.11.
    """
    match = _RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1].startswith("0001-"):
        return None
    day, clock, fraction, offset = match.groups()
    sign = "+00:00" if offset in (None, "Z", "z") else offset
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{sign}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def from_epoch(seconds: object) -> datetime | None:
    """The time of so many seconds since 1970; `None` for what is no number of them, and for 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1 << 37:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc)


def to_json(moment: datetime | None) -> str:
    """ISO 8601 in UTC; empty for none."""
    return "" if moment is None else moment.astimezone(timezone.utc).isoformat()


def age(moment: datetime | None, now: datetime | None = None) -> timedelta:
    """Return how long ago that was, by this machine's clock; 0 for none."""
    return timedelta() if moment is None else (now or datetime.now(timezone.utc)) - moment
