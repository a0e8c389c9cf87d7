"""TOML text looked at before it is parsed, in one pass: how deep it nests, and in which line its keys are. Pure.

`tomllib` calls itself once per nesting and takes quadratic time and memory for long dotted keys, so what a stranger has
written is measured first. Every pattern here matches a token in one way only, so that none goes back over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_DEPTH = 32
"""Arrays and tables in one another, and parts of a dotted key; a preset needs four."""

Path = tuple[str | int, ...]
"""The place of a value in the data: `("mounts", 0, "source")`."""

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\#[^\n]*)"
    r"|(?P<line>\n)"
    r'|(?P<long>"""(?:[^"\\]|\\.|"(?!""))*"""(?:"{0,2})|' + r"'''(?:[^']|'(?!''))*'''(?:'{0,2}))"
    r'|(?P<string>"(?!"")(?:[^"\\\n]|\\[^\n])*"|' + r"'(?!'')[^'\n]*')"
    r"|(?P<word>[A-Za-z0-9_+:-]+)"
    r"|(?P<mark>[][{}.=,])",
    re.DOTALL,
)


_KEY_TOKENS = 4 * MAX_DEPTH
"""Tokens of a statement that are kept: more than a key of `MAX_DEPTH` parts, its dots, brackets and `=`."""


class Token(NamedTuple):
    """A piece of TOML that means something; `kind` is `line`, `string`, `word` or `mark`."""

    kind: str
    text: str
    line: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens up to the first thing that no TOML can have, at which a parser stops as well."""
    line = 1
    for match in _matches(text):
        kind, found = str(match.lastgroup), match[0]
        if kind != "space":
            yield Token("string" if kind == "long" else kind, found, line)
        line += found.count("\n")


def measured(text: str) -> str:
    """The text up to the end of the line in which the tokens stop: what is behind was not measured."""
    end = 0
    for match in _matches(text):
        end = match.end()
    stop = text.find("\n", end)
    return text if end == len(text) or stop < 0 else text[:stop]


def _matches(text: str) -> Iterator[re.Match[str]]:
    place = 0
    while match := _TOKEN.match(text, place):
        place = match.end()
        yield match


def too_deep(text: str) -> int:
    """The 1-based line where the text nests deeper than `MAX_DEPTH`; 0 if it does nowhere."""
    depth = dots = 0
    for token in tokens(text):
        if token.kind == "mark":
            if token.text in "[{":
                depth += 1
            elif token.text in "]}":
                depth -= 1
            dots = dots + 1 if token.text == "." else 0
        elif token.kind == "line":
            dots = 0
        if depth > MAX_DEPTH or dots > MAX_DEPTH:
            return token.line
    return 0


def keys(text: str) -> Iterator[tuple[int, Path]]:
    """Every table header and every key outside of arrays and inline tables, with its line."""
    table: Path = ()
    counts: dict[Path, int] = {}
    for statement in _statements(text):
        line = statement[0].line
        marks = [token.text for token in statement if token.kind == "mark"]
        if statement[0].text == "[":
            path = tuple(name(token.text) for token in statement if token.kind in ("word", "string"))
            if marks[:2] == ["[", "["]:
                counts[path] = counts.get(path, -1) + 1
                table = (*path, counts[path])
            else:
                table = path
            yield line, table
        elif "=" in marks:
            end = next(n for n, token in enumerate(statement) if token.text == "=" and token.kind == "mark")
            yield line, (*table, *(name(token.text) for token in statement[:end] if token.kind in ("word", "string")))


def text_of(text: str, key: str) -> str:
    """The text of a key above all tables, also of a file that does not parse; empty if it is none."""
    for statement in _statements(text):
        if statement[0].text == "[":
            break
        kinds = [token.kind for token in statement[:3]]
        if name(statement[0].text) == key and kinds[1:] == ["mark", "string"] and statement[1].text == "=":
            return statement[2].text.strip("\"'")
    return ""


def name(part: str) -> str:
    """A part of a key without its quotes."""
    return part[1:-1] if part[:1] in ("'", '"') and len(part) > 1 else part


def _statements(text: str) -> Iterator[list[Token]]:
    """The first tokens of each header or key with its value, the key's all."""
    statement: list[Token] = []
    depth = 0
    for token in tokens(text):
        if token.kind == "line" and depth <= 0:
            if statement:
                yield statement
            statement, depth = [], 0
            continue
        if token.kind == "mark" and token.text in "[]{}":
            depth += 1 if token.text in "[{" else -1
        if token.kind != "line" and len(statement) < _KEY_TOKENS:
            statement.append(token)
    if statement:
        yield statement
