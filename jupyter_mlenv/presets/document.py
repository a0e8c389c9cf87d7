"""One preset file: TOML text -> checked plain data, with errors that say file, line, field and what is allowed.

A stranger may have written it. So everything here takes a time that grows with the text, which is bounded, and nothing
more; what cannot be a preset is one error, whatever it is.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..errors import PresetInvalid
from ..plaintext import one_line
from . import toml_scan
from .toml_scan import Path

if TYPE_CHECKING:
    import jsonschema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 64 << 10
"""Bytes of a preset file; those of the catalog have 2,000 at most."""

MAX_VALUES = 5000
"""Values in a file, tables included; checking one against the schema takes up to 0.1 ms."""

MAX_ERRORS = 20
"""Errors of the schema that are looked at; the one in the first line of them is told."""

MAX_SHOWN_CHARS = 60
"""Characters of a value or a key that an error shows."""


@dataclass(frozen=True)
class Document:
    """The checked content of one file; `fail` makes an error that points into it."""

    data: dict[str, Any]
    text: str
    file: str

    def fail(self, path: Sequence[str | int], message: str, *, allowed: object = None, hint: str = "") -> PresetInvalid:
        """An error about the value at `path`; `message` follows the field's name, as in "must be …"."""
        return _error(self.file, self.line_of(path), tuple(path), message, allowed=allowed, hint=hint)

    def line_of(self, path: Sequence[str | int]) -> int:
        """The 1-based line where the value at `path`, or the nearest table around it, is written."""
        wanted, best, best_length = tuple(path), 1, 0
        for number, found in self._keys:
            length = min(len(found), len(wanted))  # a dotted key is written deeper than what it makes
            if length > best_length and found[:length] == wanted[:length]:
                best, best_length = number, length
        return best

    @functools.cached_property
    def _keys(self) -> list[tuple[int, Path]]:
        return list(toml_scan.keys(self.text))


def read(text: str, file: str, *, shipped: bool = False) -> Document:
    """Parse and validate against the published schema. Raises PresetInvalid for the first thing that is wrong.

    `shipped`: a file of ours, which a test has validated; importing the validator takes over a second.
    """
    document = Document(_parsed(text, file), text, file)
    if shipped:
        return document
    _bounded(document)
    found = itertools.islice(_validator().iter_errors(document.data), MAX_ERRORS)
    errors = [_explain(document, error) for error in found]
    if errors:
        raise min(errors, key=lambda error: error.details.get("line", 0))
    return document


def _parsed(text: str, file: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
        raise _error(
            file, 1, (), f"has more than {MAX_FILE_BYTES >> 10} KiB", hint="Put long lists into a requirements file."
        )
    if line := toml_scan.too_deep(text):
        raise _error(file, line, (), f"nests deeper than {toml_scan.MAX_DEPTH} tables or lists", hint="")
    measured = toml_scan.measured(text)
    try:
        data = tomllib.loads(measured)
        if measured == text:
            return data
        message, line = "it has something that cannot be there", len(measured.splitlines())
    except tomllib.TOMLDecodeError as error:
        message, line = _syntax(error, measured)
    except (ValueError, RecursionError) as error:  # an integer of more digits than Python reads; what else it cannot
        message, line = str(error), 1
    hint = "Texts need quotes, as in name = 'x'."
    raise _error(file, line, (), f"is no valid TOML: {_short(message, 200)}", hint=hint)


def _bounded(document: Document) -> None:
    """Refuse what TOML does not allow, or no preset can mean, and what the validator would stumble over."""
    for number, (path, value) in enumerate(_values(document.data, ())):
        if number >= MAX_VALUES:
            raise document.fail(
                (), f"has more than {MAX_VALUES} values", hint="Put long lists into a requirements file."
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise document.fail(path, "is a number of more than 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise document.fail(path, f"must be a number, got {value}")


def _values(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    inner: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        yield (*path, key), item
        yield from _values(item, (*path, key))


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or an empty text."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), "")


@functools.cache
def schema() -> dict[str, Any]:
    """The published JSON Schema."""
    loaded: dict[str, Any] = json.loads((files(__package__) / "schema.json").read_text("utf-8"))
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
        name = f"[{part}]" if isinstance(part, int) else _short(part, MAX_SHOWN_CHARS)
        field += f".{name}" if field and isinstance(part, str) else name
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
    return _short(json.dumps(value, ensure_ascii=False, default=str), MAX_SHOWN_CHARS)


def _short(text: str, most: int) -> str:
    """On one line, without control characters, and bounded."""
    shown = one_line(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
