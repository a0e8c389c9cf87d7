"""Messages of BuildKit during a build: protobuf, read with as much of it as they need.

The engine sends a `StatusResponse` (base64) in each `moby.buildkit.trace` message. Field numbers:
github.com/moby/buildkit `api/services/control/control.proto`; wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model import Progress, plain_step
from .lines import Lines

TAIL_LINES = 20
"""Last lines of a failed step that a person gets."""

_STEP = re.compile(r"^\[(?:(?P<stage>[^\]]*?) )?(?P<number>\d+)/(?P<count>\d+)\] ")
_MAX_STEP_CHARS = 160

_MOUNT = re.compile(r"--mount=\S+\s+")
"""Options of a step that say nothing to a person; ours are four lines long."""

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Terminal colours and cursor moves, which a log view would show as litter."""


@dataclass
class Vertex:
    """A node of the build: one instruction, or something of BuildKit's own (`[internal] …`, `exporting …`)."""

    digest: str
    name: str = ""
    started: bool = False
    completed: bool = False
    cached: bool = False
    error: str = ""
    announced: bool = False
    text: Lines = field(default_factory=Lines)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)  # status id → bytes now, bytes in all

    @property
    def worth_telling(self) -> bool:
        """Return whether a step is shown; the transfer of the context from the engine to its own BuildKit is not."""
        return bool(_STEP.match(self.name)) or self.name.startswith(("exporting to", "[internal] load metadata"))


class BuildKitProgress:
    """Feed it the messages of `POST /build?version=2`; ask it for progress, and for the failed step at the end."""

    def __init__(self, steps: int = 0, title: Callable[[str], str] = plain_step) -> None:
        self.title = title
        self._vertices: dict[str, Vertex] = {}
        self._expected = steps
        self.turns = 0  # how often something came that is not a step's output
        self._shown = "Reading the Dockerfile"

    def feed(self, message: Mapping[str, Any]) -> list[str]:
        """Take one message; returns new lines for the log."""
        if message.get("id") != "moby.buildkit.trace":
            return []
        lines: list[str] = []
        for number, value in fields(base64.b64decode(message["aux"])):
            self.turns += number in (1, 2)
            if number == 1:
                lines += self._vertex(dict_of(value))
            elif number == 2:
                self._status(dict_of(value))
            elif number == 3:
                lines += self._log(dict_of(value))
        return lines

    def now(self) -> Progress:
        """Finished steps of all, and the step that runs now; the total is 0 until the Dockerfile was read."""
        stages: dict[str, int] = {}
        done = 0
        for vertex in self._vertices.values():
            match = _STEP.match(vertex.name)
            if match:
                stages[match["stage"] or ""] = int(match["count"])
                done += vertex.completed and not vertex.error
        total = max(sum(stages.values()), done, self._expected if stages else 0)
        if total:  # writing the image is a step too: it takes seconds for a large one
            total += 1
            done += any(v.name.startswith("exporting to") and v.completed for v in self._vertices.values())
        running = [v for v in self._vertices.values() if v.started and not v.completed]
        named = [v for v in running if _STEP.match(v.name)] or [v for v in running if v.worth_telling]
        if named:
            self._shown = _describe(named[-1], self.title)
        return Progress("build", self._shown, done, total, "steps")

    @property
    def failed(self) -> Vertex | None:
        """The step that ended with an error; a step that was only cancelled because of it does not count."""
        broken = [v for v in self._vertices.values() if v.error]
        own = [v for v in broken if "context canceled" not in v.error]
        return next(iter(own or broken), None)

    def _vertex(self, raw: dict[int, Any]) -> list[str]:
        digest = raw[1].decode()
        vertex = self._vertices.setdefault(digest, Vertex(digest))
        vertex.name = _MOUNT.sub("", raw.get(3, b"").decode(errors="replace")) or vertex.name
        vertex.cached = bool(raw.get(4, vertex.cached))
        vertex.error = raw.get(7, b"").decode(errors="replace") or vertex.error
        vertex.started = vertex.started or 5 in raw
        ended = 6 in raw and not vertex.completed
        vertex.completed = vertex.completed or 6 in raw
        lines = []
        if vertex.started and not vertex.announced and vertex.worth_telling:
            vertex.announced = True
            lines.append(("CACHED " if vertex.cached else "") + vertex.name)
        if ended and (last := vertex.text.take()):
            lines.append(last)
            vertex.tail.append(last)
        return lines

    def _status(self, raw: dict[int, Any]) -> None:
        vertex = self._vertices.get(raw.get(2, b"").decode())
        if vertex is not None:
            vertex.moved[raw.get(1, b"").decode()] = (raw.get(4, 0), raw.get(5, 0))

    def _log(self, raw: dict[int, Any]) -> list[str]:
        vertex = self._vertices.setdefault(digest := raw.get(1, b"").decode(), Vertex(digest))
        text = COLOUR.sub("", raw.get(4, b"").decode(errors="replace"))
        lines = [line for line in vertex.text.feed(text) if line.strip()]
        vertex.tail.extend(lines)
        return lines


def _describe(vertex: Vertex, title: Callable[[str], str]) -> str:
    name = title(vertex.name)
    if len(name) > _MAX_STEP_CHARS:
        name = name[: _MAX_STEP_CHARS - 1] + "…"
    now = sum(current for current, total in vertex.moved.values() if total)
    total = sum(total for _, total in vertex.moved.values())
    return f"{name}: {now / 1e6:.0f} of {total / 1e6:.0f} MB" if total >= 1e6 else name


def dict_of(data: bytes) -> dict[int, Any]:
    """The fields of a message that holds each of them once; the last one wins, as protobuf says."""
    return dict(fields(data))


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field number and value of each field: `int` for a varint, `bytes` for the rest. Raises ValueError."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"protobuf wire type {wire} is not used by BuildKit")
        if at + length > len(data):
            raise ValueError("a protobuf message ends in the middle of a field")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a protobuf number does not end")
