"""Dataclasses as JSON. Pure."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Textual(Protocol):
    """A value whose JSON is one text."""

    def to_text(self) -> str: ...


def toml_text(value: str) -> str:
    """A text as TOML has it: what is one in JSON is one there too."""
    return json.dumps(value, ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as JSON-serializable values; `bytes` are refused (TypeError)."""
    if value is None or (isinstance(value, (str, int, float, bool)) and not isinstance(value, enum.Enum)):
        return value  # first of all: to look whether something is `Textual` takes long
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, Textual):
        return value.to_text()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
