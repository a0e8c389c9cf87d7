"""The instructions of a Dockerfile for a person to read, in one pass over what a stranger may have written. Pure.

As BuildKit reads them (https://docs.docker.com/reference/dockerfile/): continued lines, another escape character,
comments and here-documents. Where builders differ more is shown, not less.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(\S+)[ \t]*")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<(-?)[\"']?([A-Za-z_][A-Za-z0-9_.-]*)[\"']?(?=\s|$)")


class Step(NamedTuple):
    """An instruction: its `word` in capitals, and the rest on one line, here-documents included."""

    word: str
    text: str


def directives(text: str) -> dict[str, str]:
    """The parser directives above everything else, such as `syntax` and `escape`, by their names in small letters."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        found.setdefault(match[1].lower(), match[2])
    return found


def steps(text: str) -> Iterator[Step]:
    """All instructions, in the order of the file."""
    escape = "`" if directives(text).get("escape") == "`" else "\\"
    lines = deque(text.removeprefix("\ufeff").splitlines())
    parts: list[str] = []
    while lines:
        line = lines.popleft().strip()
        if not line or line.startswith("#"):
            continue
        parts.append(line.removesuffix(escape).strip())
        if line.endswith(escape) and lines:
            continue
        word, _, rest = " ".join(parts).partition(" ")
        parts = [rest]
        if word.upper() in ("RUN", "COPY", "ADD", "ONBUILD"):
            for dash, end in _HEREDOC.findall(rest):
                parts += _body(lines, end, dash)
        yield Step(word.upper(), " ".join("; ".join(filter(None, parts)).split()))
        parts = []


def _body(lines: deque[str], end: str, dash: str) -> Iterator[str]:
    while lines:
        line = lines.popleft()
        if (line.lstrip("\t") if dash else line) == end:
            return
        yield line.strip()
