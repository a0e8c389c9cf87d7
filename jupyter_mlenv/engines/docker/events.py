"""The engine's events in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from ...model import LABEL
from ..base import EngineEvent
from .connection import Connection

FIRST_DELAY = 0.1
"""Seconds before the first attempt to reach an engine again; doubled each time."""

LAST_DELAY = 5.0
"""Seconds between attempts at most."""

FILTERS = {
    "type": ["container", "image"],
    "event": ["create", "start", "die", "oom", "destroy", "pull", "tag", "untag", "delete", "import", "load"],
}
"""What is asked for. Not the label: an image that somebody pulls carries none of ours and still makes a preset ready.
Health checks and execs of other people's containers, the bulk of a busy engine's events, are left out there."""


def parse_event(raw: Mapping[str, Any]) -> EngineEvent | None:
    """Ours of one message of `GET /events`; `None` for a container that is not ours."""
    actor = raw.get("Actor") or {}
    labels = actor.get("Attributes") or {}
    time = raw.get("timeNano", 0) / 1e9
    if raw.get("Type") == "image":
        return EngineEvent("image", time=time)
    environment = labels.get(f"{LABEL}.id", "")
    action = raw.get("Action", "")
    if raw.get("Type") != "container" or not environment or action not in FILTERS["event"][:5]:
        return None
    code = labels.get("exitCode", "")
    return EngineEvent(
        kind=cast(Literal["create", "start", "die", "oom", "destroy"], action),
        container=actor.get("ID", ""),
        environment=environment,
        labels=labels,
        exit_code=int(code) if code.lstrip("-").isdecimal() else None,
        time=time,
    )


def read_events(since: int, connection: Connection) -> Iterator[dict[str, Any] | None]:
    """`None` once the engine listens, then its messages; `since` in nanoseconds of the epoch, 0 for from now on."""
    start: Any = since_text(since) if since else None
    messages = connection.client.events(since=start, filters=FILTERS, decode=True)
    yield None
    yield from messages


def since_text(nanoseconds: int) -> str:
    """`since=` takes seconds with nine decimals; a float would lose the last three."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
