"""Pure: which files a `.dockerignore` leaves out, by Docker's rules, and in linear time whatever its patterns are.

Rules: https://docs.docker.com/build/concepts/context/#dockerignore-files and github.com/moby/patternmatcher. A regular
expression for a pattern such as `**/**/**/**/x` takes exponential time, so paths are matched part by part instead. The
one difference: a `**` in the middle of a name (`a**b`) is taken as `*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

MAX_PATTERNS = 10_000
"""Lines that count; large projects have a hundred."""

_ANY = None  # any number of folders
_Part = Callable[[str], bool] | None


class Ignore:
    """The patterns of one file. Walk from the top: each folder's state is what `enter` said of it, at first `NOTHING`.

    A state is a bit set of the patterns that a path or a folder above it matches; the last one decides.
    """

    NOTHING = 0

    def __init__(self, lines: Iterable[str]) -> None:
        self._negated = 0
        self._fixed: dict[int, list[tuple[int, Sequence[_Part]]]] = {}
        self._floating: list[tuple[int, Sequence[_Part]]] = []
        self._exceptions: list[Sequence[_Part]] = []
        for number, (negated, words) in enumerate(list(_cleaned(lines))[:MAX_PATTERNS]):
            parts = [_ANY if word == "**" else part(word) for word in words]
            bit = 1 << number
            self._negated |= bit if negated else 0
            if negated:
                self._exceptions.append(parts)
            if _ANY in parts:
                self._floating.append((bit, parts))
            else:
                self._fixed.setdefault(len(parts), []).append((bit, parts))

    def enter(self, names: Sequence[str], above: int) -> tuple[bool, int]:
        """Return whether the path of these names is left out, and its state, from the state of its folder."""
        state = above
        for bit, parts in self._fixed.get(len(names), ()):
            if all(match(name) for match, name in zip(parts, names, strict=True) if match):
                state |= bit
        for bit, parts in self._floating:
            if _floats(parts, names):
                state |= bit
        return bool(state) and not self._negated >> (state.bit_length() - 1) & 1, state

    def may_hold_more(self, names: Sequence[str]) -> bool:
        """Return whether an exception (`!…`) may take something back in below this folder, which is left out itself."""
        for parts in self._exceptions:
            for match, name in zip(parts, names, strict=False):
                if match is _ANY:
                    return True
                if not match(name):
                    break
            else:
                return True
        return False


def lines_of(text: str) -> list[str]:
    """The patterns of a `.dockerignore`."""
    return [line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip() and line[0] != "#"]


def part(pattern: str) -> Callable[[str], bool]:
    """Return whether a name matches one part of a pattern: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before any of
    them."""
    pieces: list[str | None] = [""]  # None: any characters
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            if pieces[-1] is not None:
                pieces.append(None)
            continue
        if pieces[-1] is None:
            pieces.append("")
        if letter == "?":
            piece = "."
        elif letter == "[" and (found := _class(pattern, at)):
            piece, at = found
        else:
            if letter == "\\" and at < len(pattern):
                letter, at = pattern[at], at + 1
            piece = re.escape(letter)
        pieces[-1] = f"{pieces[-1]}{piece}"
    if pieces == [re.escape(pattern)]:
        return pattern.__eq__
    return _compiled(pieces)


def _compiled(pieces: Sequence[str | None]) -> Callable[[str], bool]:
    """A regular expression that takes the first place where a piece fits and never comes back to it, as `fnmatch` does:
    linear in what it reads, and no match is missed, since stars between pieces take any rest."""
    text, number = "", 0
    last = max((i for i, piece in enumerate(pieces) if piece is None), default=-1)
    for i, piece in enumerate(pieces):
        if piece is None:
            continue
        if i and pieces[i - 1] is None and i < last:
            text += f"(?=(?P<g{number}>.*?{piece}))(?P=g{number})"
            number += 1
        else:
            text += f".*{piece}" if i and pieces[i - 1] is None else piece
    if pieces and pieces[-1] is None:
        text += ".*"
    match = re.compile(text, re.DOTALL).fullmatch
    return lambda name: match(name) is not None


def _class(pattern: str, at: int) -> tuple[str, int] | None:
    """The class of characters that begins after `[`, and where the pattern goes on; `None` if it does not end."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    items = ""
    while at < len(pattern) and pattern[at] != "]":
        low, at = _letter(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("", "]"):
            high, at = _letter(pattern, at + 1)
        if low > high:
            return None
        items += re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}"
    if at >= len(pattern) or not items:
        return None
    return f"[{'^' if negated else ''}{items}]", at + 1


def _letter(pattern: str, at: int) -> tuple[str, int]:
    """The character at this place, without the backslash before it, and the place after it."""
    if pattern[at] == "\\" and at + 1 < len(pattern):
        at += 1
    return pattern[at], at + 1


def _floats(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    """Return whether names match parts among which are `**`; each of those takes as few names as it can."""
    at = here = 0
    back = taken = -1
    while here < len(names):
        match = parts[at] if at < len(parts) else _never
        if match is _ANY:
            if at == len(parts) - 1:
                return True
            back, taken, at = at, here, at + 1
        elif match(names[here]):
            at, here = at + 1, here + 1
        elif back >= 0:
            taken += 1
            at, here = back + 1, taken
        else:
            return False
    return at == len(parts)


def _never(name: str) -> bool:
    return False


def _cleaned(lines: Iterable[str]) -> Iterable[tuple[bool, list[str]]]:
    for line in lines:
        negated = line.startswith("!")
        words: list[str] = []
        for word in line.removeprefix("!").strip().split("/"):
            if word == ".." and words:
                words.pop()
            elif word.startswith("**") and word.strip("*"):  # `**.pyc` is `**/.pyc` there
                words += ["**", word.lstrip("*")]
            elif word == "**" and words[-1:] == ["**"]:
                continue
            elif word not in ("", ".", ".."):
                words.append(word)
        if words:
            yield negated, words
