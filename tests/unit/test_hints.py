"""What we tell people to type never destroys their work without a word about it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository import ROOT, nodes_of

DESTROYS = re.compile(
    r"docker(?:[ -]compose)? (?:system|container|volume|network) prune|image prune (?:-a|--all)|docker (?:volume )?rm\b"
    r"|docker(?:[ -]compose)? down|docker kill|rm -[rf]{1,2} (?!/tmp/\.mlenv|\{_COPIED\}|\"\$scratch)"
)
"""Commands that remove containers, volumes, images that only a person has, or files."""

LOSES = re.compile("remove|without what was installed")
"""How a text says what `--recreate` does to what was installed by hand."""


def sentences(path: Path) -> Iterator[str]:
    """Every text of a module, with the pieces of an f-string joined; docstrings are not shown to anybody."""
    nodes = nodes_of(path)
    statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in statements or id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else ast.unparse(p) for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@functools.cache
def shown() -> list[tuple[Path, str]]:
    python = [(path, text) for path in (ROOT / "jupyter_mlenv").rglob("*.py") for text in sentences(path)]
    others = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "labextension" / "src").rglob("*.ts*")]
    return python + [(path, path.read_text(encoding="utf-8")) for path in others]


def test_no_text_of_ours_names_a_command_that_destroys_work() -> None:
    found = [(str(path.relative_to(ROOT)), match[0]) for path, text in shown() if (match := DESTROYS.search(text))]
    assert found == []


def test_who_is_told_to_make_an_environment_anew_is_told_what_goes_with_it() -> None:
    told = [(path, text) for path, text in shown() if path.suffix == ".py" and "jupyter mlenv" in text]
    silent = [(str(path), text) for path, text in told if "--recreate" in text and not LOSES.search(text)]
    assert silent == []


@pytest.mark.parametrize("text", ["`docker system prune` frees", "docker rm x", "docker volume prune", "rm -rf ~"])
def test_such_a_command_would_be_found(text: str) -> None:
    assert DESTROYS.search(text)
