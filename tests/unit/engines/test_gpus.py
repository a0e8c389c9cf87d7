"""The one form of a request for GPUs, whoever makes it."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from jupyter_mlenv.engines import gpus
from jupyter_mlenv.engines.gpus import EVERY, NONE, GpuRequest
from jupyter_mlenv.errors import RequestInvalid

GOOD = {
    "": NONE,
    "0": NONE,
    "none": NONE,
    "all": EVERY,
    "2": GpuRequest(2),
    "device=0,1": GpuRequest(devices=("0", "1")),
    "device=GPU-5a-b": GpuRequest(devices=("GPU-5a-b",)),
}
BAD = ["-1", "1.5", "some", "device=", "device=0,", "device=0;rm", "all ", "all\n", "12345", "\u0662", True, 1.0, None]


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_what_a_request_says(text: str, expected: GpuRequest) -> None:
    assert gpus.parse(text) == expected
    assert gpus.parse(expected.to_text()) == expected
    assert bool(expected) == (text not in ("", "0", "none"))


def test_a_number_is_one_too() -> None:
    assert gpus.parse(2) == GpuRequest(2)
    assert gpus.parse(0) == NONE


@pytest.mark.parametrize("value", BAD)
def test_what_is_none_is_refused_with_what_to_write(value: object) -> None:
    with pytest.raises(RequestInvalid) as caught:
        gpus.parse(value)
    assert "device=0,1" in caught.value.hint


def test_presets_and_the_rest_api_have_the_same_grammar() -> None:
    package = files("jupyter_mlenv")
    preset = json.loads((package / "presets" / "schema.json").read_text("utf-8"))
    openapi = json.loads((package / "server" / "openapi.json").read_text("utf-8"))
    patterns = [pattern for text in (preset, openapi) for pattern in _patterns(text) if "device=" in pattern]
    assert len(patterns) == 2
    for pattern in patterns:
        assert pattern.removesuffix(r"(?!\n)") == f"^{gpus.PATTERN}$"
        assert [text for text in GOOD if not re.search(pattern, text)] == []


def _patterns(schema: object) -> list[str]:
    if isinstance(schema, list):
        return [pattern for item in schema for pattern in _patterns(item)]
    if not isinstance(schema, dict):
        return []
    own = [value for key, value in schema.items() if key == "pattern" and isinstance(value, str)]
    return own + [pattern for item in schema.values() for pattern in _patterns(item)]


@pytest.mark.parametrize(
    ("text", "most", "more"),
    [
        ("1", 1, False),
        ("2", 1, True),
        ("all", 8, True),
        ("device=0", 1, False),
        ("device=0,1", 1, True),
        ("device=all", 8, True),
        ("device=VOID", 8, True),
        ("", 0, False),
    ],
)
def test_what_is_more_than_a_maximum(text: str, most: int, more: bool) -> None:
    assert gpus.parse(text).exceeds(most) is more
