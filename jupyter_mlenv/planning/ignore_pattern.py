"""Pure: one pattern of a `.dockerignore`: its syntax, and how it is compared with a path, name by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_ALTERNATIVES = 16
"""Lists of names that one pattern may stand for; `**` in the middle of a name (`a**b`) doubles them."""

ANY = None
"""The part that stands for any number of folders."""

Part = Callable[[str], bool] | None
_SPECIAL = re.compile(r"[*?\[\]\\]")


class BadPattern(ValueError):
    """A pattern that is none, or one that would take too long; the message says why."""


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


def floats(parts: Sequence[Part], names: Sequence[str]) -> bool:
    """Return whether names match parts among which are `**`; each of those takes as few names as it can."""
    at = here = 0
    back = taken = -1
    while here < len(names):
        match = parts[at] if at < len(parts) else _never
        if match is ANY:
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


def check(pattern: str) -> None:
    """Raise BadPattern where Go's `filepath.Match` finds no pattern, its `regexp` no range, or we too many stars."""
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "\\":
            if at == len(pattern):
                raise BadPattern("it ends with a backslash")
            at += 1
        elif letter == "[":
            at = _checked_class(pattern, at)
    _words(pattern)


def _checked_class(pattern: str, at: int) -> int:
    """Return the place behind a class of characters that begins after `[`. Raises BadPattern."""
    at += pattern[at : at + 1] == "^"
    first = at
    while pattern[at : at + 1] != "]" or at == first:
        low, at = _checked_letter(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _checked_letter(pattern, at + 1)
        if low > high:
            raise BadPattern(f"the range {low}-{high} is empty")
    return at + 1


def _checked_letter(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise BadPattern('a "[" has no "]", or what stands between them is no class of characters')
    letter, at = _letter(pattern, at)
    if at >= len(pattern):
        raise BadPattern('a "[" has no "]"')
    return letter, at


def alternatives(pattern: str) -> list[list[Part]]:
    """Return the lists of parts of which a path has to match one, of a pattern that `check` has seen."""
    return [[ANY if word == "**" else part(word) for word in words] for words in _words(pattern)]


def _words(pattern: str) -> list[list[str]]:
    """Return the lists of words, `**` among them, of which a path has to match one.

    `**` is any number of whole folders: nothing, or something that ends with a slash. Behind other characters of a name
    both have to be looked at (`a**b` is `ab`, or `a*/**/b`). At the end it is any rest.
    """
    found: list[tuple[list[str], str]] = [([], "")]
    at = 0
    if pattern.startswith("**"):
        rest = pattern[2:]
        if rest and rest[0] != "/" and not _SPECIAL.search(rest):  # docker compares the end of the path, then
            rest = f"/*{rest}"
        found, pattern = [(["**"], "")], rest.removeprefix("/")
        if not pattern:
            return [["**"]]
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 2
            at += pattern[at : at + 1] == "/"
            if len(found) > MAX_ALTERNATIVES:
                raise BadPattern("it has too many ** behind other characters of a name")
            found = list(_with_stars(found, at_end=at == len(pattern)))
            if at == len(pattern):
                return [words for words, _ in found]
        elif pattern[at] == "/":
            found = [([*words, text], "") for words, text in found]
            at += 1
        else:
            end = _end_of_item(pattern, at)
            item = pattern[at:end]
            longer = [(words, text + item) for words, text in found]
            # Docker lets a class match a slash, too.
            if item.startswith("[^") and len(item) > 2 and part(item)("/") and len(found) <= MAX_ALTERNATIVES:
                longer += [([*words, text], "") for words, text in found]
            found, at = longer, end
    return [[*words, text] for words, text in found]


def _with_stars(found: Iterable[tuple[list[str], str]], *, at_end: bool) -> Iterator[tuple[list[str], str]]:
    """Yield what `**` makes of the words so far, and of the beginning of the next one."""
    for words, text in found:
        if not text:
            yield [*words, "**"], ""
        elif at_end:
            yield [*words, f"{text}*"], ""
            yield [*words, f"{text}*", "**"], ""
        else:
            yield words, text
            yield [*words, f"{text}*", "**"], ""


def _end_of_item(pattern: str, at: int) -> int:
    """Return the place behind a character, an escaped one, or a class of characters."""
    if pattern[at] == "\\":
        return at + 2
    found = _class(pattern, at + 1) if pattern[at] == "[" else None
    return found[1] if found else at + 1
