"""Messages of the classic builder: lines of text, one JSON message each."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..model import Progress, plain_step
from .buildkit import COLOUR, TAIL_LINES
from .lines import Lines
from .pull import PullProgress

# Podman's builder says the same with capitals, and without the space.
_STEP = re.compile(r"^S(?:tep|TEP) (?P<number>\d+)/(?P<count>\d+) ?: (?P<text>.*)$", re.DOTALL)
_NOISE = re.compile(r"^ ?--+> |^Removing intermediate container |^(Successfully (built|tagged)|COMMIT) ")


class ClassicProgress:
    """Feed it the messages of `POST /build?version=1`."""

    def __init__(self, title: Callable[[str], str] = plain_step) -> None:
        self.title = title
        self.step = ""
        self.turns = 0  # how often a step began or a message came that is not of its output
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._number = 0
        self._count = 0
        self._text = Lines()
        self._base: PullProgress | None = None

    def feed(self, message: Mapping[str, Any]) -> list[str]:
        """Take one message; returns new lines for the log."""
        if "status" in message:  # a base image that is pulled on the way
            self._base = self._base or PullProgress()
            self.turns += 1
            line = self._base.feed(message)
            return [line] if line else []
        whole = self._text.feed(COLOUR.sub("", str(message.get("stream", ""))))  # it prints errors in red
        lines = []
        for line in filter(str.strip, whole):
            match = _STEP.match(line)
            if match:
                self._number, self._count = int(match["number"]), int(match["count"])
                self.step = f"[{self._number}/{self._count}] {match['text']}"
                self.turns += 1
                self.tail.clear()
                self._base = None
                lines.append(self.step)
            elif not _NOISE.match(line):
                self.tail.append(line)
                lines.append(line)
        return lines

    def now(self) -> Progress:
        """A step counts as finished when the next one starts."""
        message = self.title(self.step) or "Reading the Dockerfile"
        if self._base is not None:
            message = f"{message}: {self._base.now().message.lower()}"
        return Progress("build", message, max(0, self._number - 1), self._count, "steps")
