"""Text and messages that arrive in pieces cut anywhere, as lines of bounded length, in linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

MAX_LINE_CHARS = 8192
"""Characters of a line that a person gets to see; a progress bar or a data file printed by mistake has millions."""

MAX_MESSAGE_BYTES = 32 << 20
"""Bytes of one message of the engine; BuildKit's largest are some 100 KB."""

_ENDS = re.compile(r"\r\n|\n|\r")


class Lines:
    """Feed it pieces of text; it gives the lines that are whole. A carriage return ends one too, as a progress bar
    means it. Of a line that is longer than `MAX_LINE_CHARS` the beginning is kept, and `…`."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._return = ""  # whether a line feed that comes next belongs to this carriage return

    def feed(self, text: str) -> list[str]:
        """The lines that end in this piece."""
        text = self._return + text
        self._return = "\r" if text.endswith("\r") else ""
        first, *rest = _ENDS.split(text.removesuffix("\r"))
        self._keep(first)
        lines = []
        for piece in rest:
            lines.append(self.take())
            self._keep(piece)
        return lines

    def take(self) -> str:
        """Return and drop the beginning of the last line, which has no end yet."""
        line = self.partial
        self._pieces, self._length = [], 0
        return line

    @property
    def partial(self) -> str:
        """The beginning of the last line, which has no end yet."""
        return "".join(self._pieces) + ("…" if self._length > MAX_LINE_CHARS else "")

    def _keep(self, piece: str) -> None:
        if piece and self._length < MAX_LINE_CHARS:
            self._pieces.append(piece[: MAX_LINE_CHARS - self._length])
        self._length += len(piece)


def messages(chunks: Iterable[bytes]) -> Iterator[dict[str, Any] | None]:
    """JSON objects, one a line; `None` for a line that is none, or is longer than `MAX_MESSAGE_BYTES`."""
    pieces: list[bytes] = []
    length = 0
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        pieces.append(first if length <= MAX_MESSAGE_BYTES else b"")
        length += len(first)
        for piece in rest:
            yield from _message(pieces, length)
            pieces, length = [piece], len(piece)
    yield from _message(pieces, length)


def _message(pieces: list[bytes], length: int) -> Iterator[dict[str, Any] | None]:
    if length > MAX_MESSAGE_BYTES:
        yield None
        return
    line = b"".join(pieces).strip()
    if not line:
        return
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    yield value if isinstance(value, dict) else None
