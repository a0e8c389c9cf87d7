"""Which files a `.dockerignore` leaves out."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator

import pytest

from jupyter_mlenv.planning.dockerignore import Ignore, lines_of
from jupyter_mlenv.planning.ignore_pattern import BadPattern, part


def ignored(lines: list[str], path: str) -> bool:
    return list(levels(Ignore(lines_of("\n".join(lines))), path.split("/")))[-1]


def levels(rules: Ignore, names: list[str]) -> Iterator[bool]:
    """Whether each folder on the way to a path is left out, and then the path."""
    state = Ignore.NOTHING
    for depth in range(1, len(names) + 1):
        out, state = rules.enter(names[:depth], state)
        yield out


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
        (["a?b", "[a-c]x", "[^a-c]y", "\\*s"], ["a1b", "bx", "dy", "*s"], ["a/b", "dx", "ay", "xs"]),
        (["**.pyc", "temp**"], ["a.pyc", "x/a.pyc", ".pyc", "temp1/x", "temp"], ["a.pyc2", "x/temp1"]),
        (["a**b"], ["ab", "axb/b", "ax/y/b", "a/b"], ["axb", "xab"]),
        (["**a*"], ["a1", "x/a", "x/a1"], ["xa"]),
        (["../x", "/", "."], [], ["x", "y"]),
        (["//a", "./b", "c/.", "d//e", " f "], ["a", "b", "c", "d/e", "f"], ["d"]),
        (["**", "!**/keep"], ["x/y"], ["keep", "x/keep"]),
        # What would change nothing when a folder is looked at is not remembered for what is below.
        (["d", "!d/e", "d"], ["d/x"], ["d/e/x"]),
    ],
)
def test_dockers_rules(lines: list[str], out: list[str], kept: list[str]) -> None:
    assert [path for path in out if not ignored(lines, path)] == []
    assert [path for path in kept if ignored(lines, path)] == []


def test_comments_and_blank_lines_are_no_patterns() -> None:
    assert lines_of("\ufeff# all\n\n  a  \r\n! b\n # c\n") == ["a", "!b", "# c"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("!", "without a pattern"),
        ("a[", 'has no "]"'),
        ("[]a]", "no class"),
        ("[-x]", "no class"),
        ("[z-a]q", "range z-a is empty"),
        ("a\\", "backslash"),
        ("!x/[a", 'has no "]"'),
        ("a**" * 9 + "b", "too many"),
    ],
)
def test_what_docker_refuses_is_refused_with_its_line(line: str, why: str) -> None:
    with pytest.raises(BadPattern, match=f"line 3 .*{why}"):
        lines_of(f"a\n\n{line}\nb\n")


def by_regular_expressions(lines: list[str], path: str) -> bool:
    """What docker leaves out, by the expressions that it makes of patterns: exponential, which is why we do not."""
    above: list[bool] = [False] * len(lines)
    out = False
    for depth in range(1, path.count("/") + 2):
        here, out, found = "/".join(path.split("/")[:depth]), False, list[bool]()
        for number, line in enumerate(lines):
            exception, pattern = line.startswith("!"), line.removeprefix("!")
            if above[number]:
                hit = True
            elif exception != out:
                hit = False
            elif pattern.startswith("**") and not re.search(r"[*?\[]", pattern[2:]):
                hit = here.endswith(pattern[2:]) or here == pattern[3:]
            else:
                text = re.sub(r"\*\*/?$", "\0", pattern)
                text = re.sub(r"\*\*/?", "\1", text)
                text = "".join("[^/]*" if c == "*" else "[^/]" if c == "?" else c for c in text.replace(".", r"\."))
                hit = re.fullmatch(text.replace("\0", ".*").replace("\1", "(?:.*/)?"), here) is not None
            found.append(hit)
            out = (not exception) if hit else out
        above = found
    return out


def test_random_patterns_and_paths() -> None:
    dice = random.Random(19)
    pieces = ["a", "b", "ab", "*", "**", "?", "/", "/", "a*", "**/", "/**", "[ab]", "[^a]", "."]
    for _ in range(700):
        text = "\n".join(
            dice.choice(["", "", "!"]) + "".join(dice.choices(pieces, k=dice.randrange(1, 6)))
            for _ in range(dice.randrange(1, 5))
        )
        path = "/".join("".join(dice.choices("ab.", k=dice.randrange(1, 4))) for _ in range(dice.randrange(1, 5)))
        lines = lines_of(text)
        assert ignored(text.split("\n"), path) == by_regular_expressions(lines, path), (lines, path)


def test_a_walk_misses_nothing_that_an_exception_takes_back() -> None:
    """Folders in which nothing can be taken back are not entered."""
    dice = random.Random(20)
    pieces = ["a", "b", "*", "**", "/", "/", "a*", "**/", "/**"]
    paths = ["/".join(dice.choices(["a", "b", "ab"], k=dice.randrange(1, 5))) for _ in range(60)]
    for _ in range(150):
        text = "\n".join(
            dice.choice(["", "!"]) + "".join(dice.choices(pieces, k=dice.randrange(1, 6))) for _ in range(4)
        )
        rules = Ignore(lines_of(text))
        for path in paths:
            names = path.split("/")
            *above, out = levels(rules, names)
            for depth, left_out in enumerate(above, 1):
                assert out or not left_out or rules.may_hold_more(names[:depth]), (text, path)


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
