"""An environment is found by its id, by the beginning of it, or by its preset; never the wrong one."""

from __future__ import annotations

import pytest

from jupyter_mlenv.cli.resolve import resolve
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import EnvironmentNotFound, RequestInvalid


def made(id: str, workspace: str = "/w", name: str = "") -> Environment:
    preset = id.rpartition("-")[0]
    return Environment(
        id=id, preset=preset, title="", name=name, owner="o", workspace=workspace, state=State.RUNNING, image=""
    )


A = made("python-1111111111", "/a")
B = made("python-1122222222", "/b")
NAMED = made("python-3333333333", "/b", name="second")
GPU = made("python-gpu-4444444444", "/a")
ALL = [A, B, NAMED, GPU]


@pytest.mark.parametrize(
    ("word", "workspace", "expected"),
    [
        ("python-1111111111", "", A),
        ("python-111", "", A),
        ("python-gpu", "", GPU),
        ("python-g", "", GPU),
        ("python", "/a", A),
        ("python", "/b", B),
    ],
)
def test_found(word: str, workspace: str, expected: Environment) -> None:
    assert resolve(word, ALL, workspace) is expected


def test_a_preset_wins_over_an_id_that_begins_like_it() -> None:
    assert resolve("python", [A, GPU]) is A


def test_the_only_named_one_of_this_project() -> None:
    assert resolve("python", [A, NAMED], "/b") is NAMED


@pytest.mark.parametrize(("word", "expected"), [("python", [A, B, NAMED]), ("python-11", [A, B]), ("pyth", ALL)])
def test_ambiguous_ones_are_listed(word: str, expected: list[Environment]) -> None:
    with pytest.raises(RequestInvalid) as caught:
        resolve(word, ALL, "/elsewhere")
    assert caught.value.details["candidates"] == [e.id for e in expected]
    for environment in expected:
        assert environment.id in caught.value.message
        assert environment.workspace in caught.value.message


def test_unknown_ones_name_the_nearest() -> None:
    with pytest.raises(EnvironmentNotFound) as caught:
        resolve("pyhton", ALL)
    assert "Did you mean 'python'?" in caught.value.message
    assert "jupyter mlenv list" in caught.value.hint


def test_an_empty_word_is_nothing() -> None:
    with pytest.raises(EnvironmentNotFound):
        resolve("", [A])
