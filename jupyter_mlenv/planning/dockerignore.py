"""Pure: which files a `.dockerignore` leaves out, as docker's command line does, in linear time whatever it says.

The rules are those of github.com/moby/patternmatcher (0.6) as BuildKit walks a context with it, oddities included: what
`**` means depends on where it stands, and an exception (`!…`) is only looked at below what is left out. A regular
expression for a pattern such as `**/**/**/**/x` takes exponential time, so paths are matched part by part instead.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from .ignore_pattern import ANY, BadPattern, Part, alternatives, check, floats

MAX_PATTERNS = 10_000
"""Lines that count; large projects have a hundred."""


class Ignore:
    """The patterns of one file. Walk from the top: each folder's state is what `enter` said of it, at first `NOTHING`.

    A state is a bit set of the patterns that a path, or a folder above it, was found to match. The lines are those of
    `lines_of`.
    """

    NOTHING = 0

    def __init__(self, lines: Iterable[str]) -> None:
        self._negated = 0
        self._fixed: dict[int, list[tuple[int, Sequence[Part]]]] = {}
        self._floating: list[tuple[int, Sequence[Part]]] = []
        self._exceptions: list[Sequence[Part]] = []
        for number, line in enumerate(lines):
            self._add(1 << number, line)

    def _add(self, bit: int, line: str) -> None:
        negated = line.startswith("!")
        pattern = line[1:] if negated else line
        if negated:
            self._negated |= bit
        for parts in alternatives(pattern):
            if negated:
                self._exceptions.append(parts)
            if ANY in parts:
                self._floating.append((bit, parts))
            else:
                self._fixed.setdefault(len(parts), []).append((bit, parts))

    def enter(self, names: Sequence[str], above: int) -> tuple[bool, int]:
        """Return whether the path of these names is left out, and its state, from the state of its folder."""
        found = above
        for bit, parts in self._fixed.get(len(names), ()):
            if not found & bit and all(match(name) for match, name in zip(parts, names, strict=True) if match):
                found |= bit
        for bit, parts in self._floating:
            if not found & bit and floats(parts, names):
                found |= bit
        out, state = False, above
        while found:
            bit = found & -found
            found ^= bit
            exception = bool(self._negated & bit)
            # One that would change nothing is not looked at, so what is below does not have it from here.
            if above & bit or exception == out:
                state |= bit
                out = not exception
        return out, state

    def may_hold_more(self, names: Sequence[str]) -> bool:
        """Return whether an exception (`!…`) may take something back in below this folder, which is left out itself."""
        for parts in self._exceptions:
            for match, name in zip(parts, names, strict=False):
                if match is ANY:
                    return True
                if not match(name):
                    break
            else:
                return True
        return False


def lines_of(text: str) -> list[str]:
    """Return the patterns of a `.dockerignore`, cleaned as docker does. Raises BadPattern, which says which line."""
    found: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        pattern = "" if line.startswith("#") else line.strip()
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if not pattern:
            if negated:
                raise BadPattern(f'line {number} is an exception ("!") without a pattern')
            continue
        pattern = posixpath.normpath(pattern)
        pattern = "/" + pattern.lstrip("/") if pattern.startswith("//") else pattern
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
        try:
            check(pattern)
        except BadPattern as error:
            raise BadPattern(f'line {number} has a pattern that is none, "{line.strip()[:60]}": {error}') from None
        if len(found) == MAX_PATTERNS:
            raise BadPattern(f"line {number} is one too many: {MAX_PATTERNS:,} patterns are the most")
        found.append(f"!{pattern}" if negated else pattern)
    return found
