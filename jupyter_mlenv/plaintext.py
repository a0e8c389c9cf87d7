"""Pure: texts of containers and repositories as a terminal may show them.

A terminal obeys what is printed: it writes the clipboard (OSC 52), moves the cursor, answers questions as if they were
typed. Bidirectional overrides make a text read as another one. So whatever somebody else has written is shown without.
"""

from __future__ import annotations

import re

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line break, DEL, C1
# Marks, overrides and isolates of direction, separators of lines, invisible operators and notes, halves of surrogates.
_FORMAT = "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROL}{_FORMAT}]")
_UNSAFE_OR_BREAK = re.compile(f"[\n\t{_CONTROL}{_FORMAT}]")

# No part can match what another one can, and none is nested: the time is linear (a string without an end is
# left to `shown`).
_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: cursor, colours, modes, questions
    "|(?:\x1b[]P^_X]|[\x9d\x90\x9e\x9f\x98])[^\x07\x1b\n\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS, …
    "|\x1b[ -/]*[0-OQ-WYZ\\\\`-~]"  # two or three characters: character sets, resets
)
_COLOUR = re.compile("\x1b\\[[0-9;:]{0,40}m")


def shown(text: str) -> str:
    """The text with control and direction characters as escapes (`\\x1b`); tabs and line breaks stay."""
    return _UNSAFE.sub(_escape, text)


def one_line(text: str) -> str:
    """Return a name or a title as one line without control characters, whatever is in it."""
    return _UNSAFE_OR_BREAK.sub(_escape, text)


def log_line(text: str, *, colours: bool = False) -> str:
    """A line of a program's output: what a terminal would have obeyed is gone, what is left of it is escaped.

    Of a line that was written over, as progress bars do with carriage returns, the last state stays.

    Parameters
    ----------
    colours
        Keep colours and styles, and end them with the line.
    """
    text = text.rstrip("\r\n")
    text = text[text.rfind("\r") + 1 :]
    if not _UNSAFE_OR_BREAK.search(text):
        return text
    if not colours:
        return shown(_SEQUENCE.sub("", text))
    kept = _COLOUR.findall(text)
    words = _COLOUR.split(text)
    plain = [shown(_SEQUENCE.sub("", word)) for word in words]
    painted = "".join(word + colour for word, colour in zip(plain, [*kept, ""], strict=True))
    return painted + ("\x1b[0m" if kept else "")


def json_text(text: str) -> str:
    """JSON with the same characters in its strings as JSON's own escapes: as data it is the same."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(number) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
