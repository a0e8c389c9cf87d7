"""A plan as a container's label and back: what makes the engine the only database. Pure."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

from ..engines import gpus
from ..engines.gpus import GpuRequest
from ..engines.model import ContainerSpec, Mount, Resources
from ..errors import RequestInvalid
from ..presets.model import Endpoint, KernelOptions
from ..serialization import to_plain
from .model import ImagePlan, Plan

T = TypeVar("T")

MAX_LABEL_CHARS = 1 << 20
"""Characters of a label; one of ours has a few thousand."""

MAX_DIGITS = 20
"""Digits of a number; 64 bits have as many."""


def to_label(plan: Plan) -> str:
    """The plan as one line of JSON, without the build recipe, files' contents, labels and variables.

    The engine shows labels to everybody who may use it, also in its events; a variable may hold a secret.
    """
    data = to_plain(
        dataclasses.replace(
            plan,
            files=(),
            notes=(),
            image=dataclasses.replace(plan.image, recipe=None),
            container=dataclasses.replace(plan.container, labels={}, env={}, empty_folders=(), empty_files=()),
            endpoints=tuple(dataclasses.replace(endpoint, env={}) for endpoint in plan.endpoints),
        )
    )
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def from_label(text: str) -> Plan:
    """The plan that a label holds. Total: whatever makes no sense has its default, also for all of it.

    Anybody who may use the engine can write such a label, and one odd container is to hide no other.
    """
    return _plan(_parsed(text))


def makes_sense(text: str) -> bool:
    """Return whether a label holds the plan of an environment at all."""
    data = _parsed(text)
    return isinstance(data.get("container"), dict) and isinstance(data.get("id"), str)


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > MAX_LABEL_CHARS:
        return {}
    try:
        data = json.loads(text, parse_int=_int, parse_constant=_constant)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _plan(data: dict[str, Any]) -> Plan:
    required = dict.fromkeys(("id", "preset", "title", "owner", "workspace", "name"), "")
    image = ImagePlan(**{"kind": "pull", "reference": "", **_known(ImagePlan, data.get("image"))})
    spec = ContainerSpec(**{"name": "", "image": "", "command": (), **_known(ContainerSpec, data.get("container"))})
    parts = {"image": image, "container": spec, "endpoints": _several(_endpoint, data.get("endpoints"))}
    return Plan(**{**required, **_known(Plan, data), **parts, "kernel": _kernel(data.get("kernel"))})


def _endpoint(value: object) -> Endpoint | None:
    fields = _known(Endpoint, value)
    return Endpoint(**{"title": fields["name"], "command": (), **fields}) if fields.get("name") else None


def _mount(value: object) -> Mount | None:
    fields = _known(Mount, value)
    return Mount(**fields) if fields.get("source") and fields.get("target") else None


def _resources(value: object) -> Resources:
    return Resources(**_known(Resources, value))


def _gpus(value: object) -> GpuRequest | None:
    try:
        return gpus.parse(value)
    except RequestInvalid:
        return None


def _kernel(value: object) -> KernelOptions:
    return KernelOptions(**_known(KernelOptions, value))


def _known(kind: type, value: object) -> dict[str, Any]:
    """The fields of a dataclass whose values have the right type."""
    if not isinstance(value, dict):
        return {}
    found = {}
    for name, read in _readers(kind):
        if name in value and (read_value := read(value[name])) is not None:
            found[name] = read_value
    return found


@functools.cache
def _readers(kind: type) -> tuple[tuple[str, Callable[[object], Any]], ...]:
    """Return the reader of each field of a dataclass, by its annotation; fields of other types stay out of labels."""
    return tuple((f.name, READERS[str(f.type)]) for f in dataclasses.fields(kind) if str(f.type) in READERS)


def _several(read: Callable[[object], T | None], value: object) -> tuple[T, ...]:
    """The items of a list that make sense."""
    return tuple(item for item in map(read, value) if item is not None) if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half a character
        return None
    return value


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18 else None


def _yes(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


READERS: dict[str, Callable[[object], Any]] = {
    "str": _text,
    "int": _whole,
    "int | None": _whole,
    "float": _number,
    "float | None": _number,
    "bool": _yes,
    "tuple[str, ...]": lambda value: _several(_text, value),
    "tuple[int, ...]": lambda value: _several(_whole, value),
    "tuple[Mount, ...]": lambda value: _several(_mount, value),
    "Resources": _resources,
    "GpuRequest": _gpus,
    "Literal['host', 'pull', 'build']": lambda value: value if value in ("host", "pull", "build") else None,
}
"""By annotation, as the dataclasses of `model` have them."""
