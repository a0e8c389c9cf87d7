"""Which files a `.dockerignore` leaves out."""

from __future__ import annotations

import time

import pytest

from jupyter_mlenv.planning.dockerignore import Ignore, lines_of, part


def ignored(lines: list[str], path: str) -> bool:
    rules, names, state, out = Ignore(lines), path.split("/"), Ignore.NOTHING, False
    for depth in range(1, len(names) + 1):
        out, state = rules.enter(names[:depth], state)
    return out


@pytest.mark.parametrize(
    ("lines", "out", "kept"),
    [
        (["*.log"], ["a.log", "x.log/y"], ["src/a.log", "a.log2"]),
        (["**/*.log"], ["a.log", "src/x/a.log"], ["a.txt"]),
        (["/data/", "./b/../c"], ["data/x/y", "data", "c"], ["src/data", "b"]),
        (["a/**/z", "b/**"], ["a/z", "a/1/2/z", "b/x", "b/x/y"], ["a", "b", "z"]),
        (["**"], ["x", "x/y"], []),
        (["*", "!src", "!src/*.py", "src/no*"], ["x", "src/nope"], ["src/a.py", "src/b/c"]),
        (["node_modules", "!node_modules/keep"], ["node_modules/x"], ["node_modules/keep/x"]),
        (["a?b", "[a-c]x", "[^a-c]y", "w[]w", "\\*s", "[z-a]q"], ["a1b", "bx", "dy", "*s"], ["a/b", "dx", "ay", "xs"]),
        (["**.pyc", "temp**"], ["temp1/x"], ["a.pyc"]),
        (["../x", "!", "/"], ["x"], ["y"]),
    ],
)
def test_dockers_rules(lines: list[str], out: list[str], kept: list[str]) -> None:
    assert [path for path in out if not ignored(lines, path)] == []
    assert [path for path in kept if ignored(lines, path)] == []


def test_comments_and_blank_lines_are_no_patterns() -> None:
    assert lines_of("\ufeff# all\n\n  a  \r\n!b\n") == ["a", "!b"]


def test_a_folder_that_is_left_out_is_looked_at_where_an_exception_may_lie() -> None:
    rules = Ignore(["*", "!src/keep", "!**/x"])
    assert rules.may_hold_more(["src"])
    assert Ignore(["*", "!src/keep"]).may_hold_more(["data"]) is False
    assert rules.may_hold_more(["data"])


@pytest.mark.parametrize("pattern", ["**/" * 40 + "x", "*a" * 40 + "b", "?*" * 60, "[a-z]*" * 40 + "!", "*" * 5000])
def test_no_pattern_takes_long(pattern: str) -> None:
    """Not a measurement: with backtracking each of these takes longer than a test session."""
    began = time.process_time()
    ignored([pattern, f"**/{pattern}"], "a" * 250)
    ignored([pattern], "/".join(["a"] * 250))
    assert time.process_time() - began < 20


def test_parts_match_whole_names() -> None:
    assert part("a.c")("a.c")
    assert not part("a.c")("abc")
    assert part("*é*")("crémé\n")
