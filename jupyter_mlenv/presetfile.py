"""One preset file: TOML text -> checked plain data, with errors that say file, line, field and what is allowed."""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .errors import PresetInvalid

if TYPE_CHECKING:
    import jsonschema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple[str | int, ...]
"""Where a value is in the data: `("mounts", 0, "source")`."""


@dataclass(frozen=True)
class Document:
    """The checked content of one file; `fail` makes an error that points into it."""

    data: dict[str, Any]
    text: str
    file: str

    def fail(self, path: Sequence[str | int], message: str, *, allowed: object = None, hint: str = "") -> PresetInvalid:
        """An error about the value at `path`; `message` follows the field's name, as in "must be …"."""
        return _error(self.file, line_of(self.text, path), tuple(path), message, allowed=allowed, hint=hint)


def read(text: str, file: str, *, shipped: bool = False) -> Document:
    """Parse and validate against the published schema. Raises PresetInvalid for the first thing that is wrong.

    `shipped`: a file of ours, which a test has validated; importing the validator takes over a second.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _syntax(error, text)
        raise _error(
            file, line, (), f"is no valid TOML: {message}", hint="Texts need quotes, as in name = 'x'."
        ) from None
    document = Document(data, text, file)
    errors = [] if shipped else [_explain(document, error) for error in _validator().iter_errors(data)]
    if errors:
        raise min(errors, key=lambda error: error.details.get("line", 0))
    return document


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or an empty text."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), "")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The 1-based line where the value at `path`, or the nearest table around it, is written."""
    wanted, best, best_length = tuple(path), 1, 0
    for number, found in _keys(text):
        length = min(len(found), len(wanted))  # a dotted key is written deeper than what it makes
        if length > best_length and found[:length] == wanted[:length]:
            best, best_length = number, length
    return best


def _keys(text: str) -> Iterable[tuple[int, Path]]:
    """Every table header and key with its line; good enough for files that parse."""
    table: Path = ()
    counts: dict[Path, int] = {}
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if match := re.match(r"\s*\[\[(.+?)\]\]", line):
            array = _split(match[1])
            counts[array] = counts.get(array, -1) + 1
            table = (*array, counts[array])
            yield number, table
        elif match := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
            table = _split(match[1])
            yield number, table
        elif match := re.match(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=""", line):
            yield number, (*table, *_split(match[1]))
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark


def _split(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted))


@functools.cache
def schema() -> dict[str, Any]:
    """The published JSON Schema."""
    loaded: dict[str, Any] = json.loads((files(__package__) / "preset.schema.json").read_text("utf-8"))
    return loaded


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    import jsonschema  # noqa: PLC0415 - with its format checkers it takes a second, and most commands read no preset

    return jsonschema.Draft202012Validator(schema())


def _explain(document: Document, error: jsonschema.ValidationError) -> PresetInvalid:
    path: Path = tuple(error.absolute_path)
    rule: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    instance: Any = error.instance
    required: Any = error.validator_value
    if error.validator == "additionalProperties" and isinstance(rule.get("properties"), dict):
        known = rule["properties"]
        key = next(key for key in instance if key not in known)
        guess = nearest(key, known)
        return document.fail(
            (*path, key),
            "is not a known setting",
            allowed=sorted(known),
            hint=f"Did you mean {guess}?" if guess else f"Known here: {', '.join(sorted(known))}.",
        )
    if error.validator == "required":
        key = next(key for key in required if key not in instance)
        return document.fail((*path, key), "is missing", allowed=list(required))
    if error.parent is None and "propertyNames" in error.absolute_schema_path:
        path = (*path, str(error.instance))
    allowed = str(rule.get("title", "something else"))
    return document.fail(path, f"must be {allowed}, got {_show(error.instance)}", allowed=allowed)


def _error(file: str, line: int, path: Path, message: str, *, hint: str, allowed: object = None) -> PresetInvalid:
    field = ""
    for part in path:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
    where = f"`{field}` in {file} line {line}" if field else f"{file} line {line}"
    details = {"file": file, "line": line, "field": field, "allowed": allowed}
    return PresetInvalid(
        f"{where} {message}.",
        hint=hint,
        details={name: value for name, value in details.items() if value not in (None, "")},
    )


def _syntax(error: tomllib.TOMLDecodeError, text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    if match is None:
        return str(error), 1
    return match[1], int(match[2]) if match[2] else max(1, len(text.splitlines()))


def _show(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
