"""The engine's events in our words."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeVar, cast

from ...container_layout import LABEL
from ..base import EngineEvent
from .connection import Connection

LOG = logging.getLogger("jupyter_mlenv")

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.1
"""Seconds before the first attempt to reach an engine again; doubled each time."""

LAST_DELAY_SECONDS = 5.0
"""Seconds between attempts at most."""

PROOF_SECONDS = 1.0
"""Seconds that an engine has to listen, once it has let go at once, before it is believed to be there again."""

ACTIONS = ["create", "start", "die", "oom", "destroy", "pause", "unpause"]
"""Actions on a container that change the state of its environment."""

FILTERS = {
    "type": ["container", "image"],
    "event": [*ACTIONS, "remove", "died", "pull", "tag", "untag", "delete", "import", "load"],
}
"""The filter of events. Not by label: a pulled image has none of ours and still makes a preset ready.
Health checks and execs of other people's containers, the bulk of a busy engine's events, are left out there."""


def parse_event(raw: Mapping[str, Any]) -> EngineEvent | None:
    """Read one message of `GET /events`; `None` for a container that is not ours, or a message in another form."""
    actor = raw.get("Actor")
    labels = actor.get("Attributes") if isinstance(actor, dict) else None
    labels = labels if isinstance(labels, dict) else {}
    time = time_of(raw) / 1e9
    if raw.get("Type") == "image":
        return EngineEvent("image", time=time)
    environment = labels.get(f"{LABEL}.id", "")
    action = raw.get("Action", "")
    if raw.get("Type") != "container" or not environment or action not in ACTIONS:
        return None
    code = str(labels.get("exitCode", ""))
    return EngineEvent(
        kind=cast(Literal["create", "start", "die", "oom", "destroy", "pause", "unpause"], action),
        container=str(raw["Actor"].get("ID", "")),
        environment=str(environment),
        labels=labels,
        exit_code=int(code) if re.fullmatch(r"-?[0-9]{1,9}", code) else None,
        time=time,
    )


def time_of(raw: Mapping[str, Any]) -> int:
    """Nanoseconds of the epoch; 0 for a message without a time."""
    value = raw.get("timeNano", 0)
    return value if isinstance(value, int) else 0


def read_events(since: int, connection: Connection) -> Iterator[dict[str, Any] | None]:
    """`None` once the engine listens, then its messages; `since` in nanoseconds of the epoch, 0 for from now on."""
    params = {"filters": json.dumps(FILTERS), **({"since": since_text(since)} if since else {})}
    messages = connection.messages("GET", "/events", params=params)
    yield None
    for message in messages:
        if message is None:
            LOG.warning("The container engine at %s sent an event that is no JSON.", connection.client.base_url)
        else:
            yield message


def since_text(nanoseconds: int) -> str:
    """`since=` takes seconds with nine decimals; a float would lose the last three."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


async def proven(messages: AsyncGenerator[T, None], seconds: float) -> AsyncGenerator[T, None]:
    """Yield the messages, the first one only if no end follows it for `seconds`; another message is proof too."""
    async with aclosing(messages):
        try:
            first = await anext(messages)
            coming = asyncio.ensure_future(_next(messages))
            try:
                done, _ = await asyncio.wait({coming}, timeout=seconds)
                if done and seconds:
                    coming.result()  # ends here where there is none
                yield first
                while True:
                    yield await coming
                    coming = asyncio.ensure_future(_next(messages))
            finally:
                coming.cancel()
                await asyncio.wait({coming})
        except (StopAsyncIteration, _Over):
            return


class _Over(Exception):
    """The end of the messages; a task cannot end with StopAsyncIteration."""


async def _next(messages: AsyncGenerator[T, None]) -> T:
    try:
        return await anext(messages)
    except StopAsyncIteration:
        raise _Over from None
