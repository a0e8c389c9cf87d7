"""Times as engines write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from jupyter_mlenv import timestamps

MOMENT = datetime(2026, 11, 21, 10, 19, 33, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-11-21T10:19:33Z", 0),
        ("2026-11-21T10:19:33.123456789Z", 123456),  # Docker
        ("2026-11-21T10:19:33.5Z", 500000),
        ("2026-11-21T11:19:33.000001+01:00", 1),
        ("2026-11-21T05:49:33-04:30", 0),
        ("2026-11-21 10:19:33", 0),
    ],
)
def test_a_time_is_read_in_utc(text: str, microseconds: int) -> None:
    assert timestamps.parse(text) == MOMENT.replace(microsecond=microseconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        7,
        "yesterday",
        "0001-01-01T00:00:00Z",  # Go's zero time
        "2026-13-21T10:19:33Z",
        "2026-11-21T10:19:33.Z",
        "2026-11-21T10:19:33+99:99",
        "9999-12-31T23:59:59-01:00",
        "2026-11-21T10:19:33Z\n",
        "\u0662026-11-21T10:19:33Z",
    ],
)
def test_what_is_no_time_is_none(text: object) -> None:
    assert timestamps.parse(text) is None


def test_seconds_since_1970() -> None:
    assert timestamps.from_epoch(MOMENT.timestamp()) == MOMENT
    for odd in (0, -1, True, "5", None, float("nan"), float("inf"), 10**30):
        assert timestamps.from_epoch(odd) is None


def test_json_is_iso_8601_in_utc() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert timestamps.to_json(elsewhere) == "2026-11-21T10:19:33+00:00"
    assert timestamps.to_json(None) == ""
    assert timestamps.parse(timestamps.to_json(elsewhere)) == elsewhere


def test_age() -> None:
    assert timestamps.age(MOMENT, MOMENT + timedelta(seconds=5)) == timedelta(seconds=5)
    assert timestamps.age(None) == timedelta()
