"""Answers of an agent, read as what code in an environment may have written: bounded, and of one shape.

Everything here raises ValueError for what the agent's protocol does not know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

STATES = ("starting", "ready", "exited")
"""States of services and kernels."""

MAX_VALUES = 100_000
"""Values in one answer: as many are read in some 15 ms, and the largest honest answer has a tenth of them."""

MAX_DIGITS = 20
"""Digits of a number; 64 bits have as many."""

MAX_WORD_CHARS = 4096
"""Characters of a text that is no line of a log; a path has as many."""

MAX_LOG_LINES = 1000
"""Lines of a log; the agent keeps 500."""


def parse(text: bytes) -> dict[str, Any]:
    """The JSON object of this text; without NaN, endless numbers, or more values or levels than an agent needs."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_VALUES:
        raise ValueError("it has too many parts")
    try:
        value = json.loads(text.decode(), parse_int=_int, parse_float=_float, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return record(value)


def record(value: object) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError("an object is missing")
    return value


def word(answer: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text of one line that can be shown and sent."""
    value = answer.get(name, default)
    if not isinstance(value, str) or len(value) > MAX_WORD_CHARS or not value.isprintable():
        raise ValueError(f"{name} is no text")
    return value


def words(answer: Mapping[str, Any], name: str) -> list[str]:
    """The lines of a log; none where it is missing."""
    value = answer.get(name, [])
    if not isinstance(value, list) or len(value) > MAX_LOG_LINES or not all(isinstance(line, str) for line in value):
        raise ValueError(f"{name} is no list of lines")
    return [line.encode("utf-8", "replace").decode() for line in value]


def number(answer: Mapping[str, Any], name: str) -> int:
    """A whole number."""
    value = answer.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is no number")
    return value


def flag(answer: Mapping[str, Any], name: str) -> bool:
    """Yes or no."""
    value = answer.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def optional(read: Callable[[Mapping[str, Any], str], T], answer: Mapping[str, Any], name: str) -> T | None:
    """Return a field as the reader has it, or None where it is missing or null."""
    return None if answer.get(name) is None else read(answer, name)


def records(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects."""
    value = answer.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return [record(item) for item in value]


def facts(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an error for programs: its plain values, texts shortened to what can be shown."""
    found: dict[str, Any] = {}
    for name, value in list(answer.items())[:50]:
        if isinstance(value, str):
            found[_shown(name)] = _shown(value)
        elif value is None or isinstance(value, (bool, int, float)):
            found[_shown(name)] = value
    return found


def _shown(text: str) -> str:
    return text[:MAX_WORD_CHARS].encode("utf-8", "replace").decode()


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text[:400])
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def state(answer: dict[str, Any]) -> str:
    """Return the state of a service or a kernel. Raises ValueError."""
    found = word(answer, "state")
    if found not in STATES:
        raise ValueError("state is none")
    return found
