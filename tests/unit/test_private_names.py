"""Private names of libraries that the package leans on: the table in docs/architecture.md has each of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.repository import ROOT, nodes_of

PACKAGE = ROOT / "jupyter_mlenv"
DOCUMENTED = {"_exit"}
"""Names with an underscore that a library's reference describes: `os._exit`."""
STRINGS = {"getattr", "setattr", "hasattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def mentioned(file: Path) -> Iterator[str]:
    """Private names that are read or set on something that is not the object itself, or are overridden."""
    for node in nodes_of(file):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not is_self(node.value):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STRINGS:
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and is_private(str(a.value)))


def defined(file: Path) -> Iterator[str]:
    """Names that a module's own classes and functions have."""
    for node in nodes_of(file):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Private names of libraries")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_private_name_is_in_the_table() -> None:
    files = list(PACKAGE.rglob("*.py"))
    own = {name for file in files for name in defined(file)}
    foreign = {name for file in files for name in mentioned(file)} - own
    known = {name for row in rows() for name in re.findall(r"`(\w+)`", row[0])}
    assert foreign
    assert foreign - known == set()


def test_the_table_is_true() -> None:
    assert rows()
    for names, _version, where, test, *_ in rows():
        (module,), tests = re.findall(r"`([^`]+)`", where), re.findall(r"`([^`]+)`", test)
        folder = ROOT / "labextension" / "src" if module.endswith((".ts", ".tsx")) else PACKAGE
        text = (folder / module).read_text(encoding="utf-8")
        assert [name for name in re.findall(r"`(\w+)`", names) if name not in text] == []
        assert tests
        assert [path for path in tests if not Path(ROOT / "tests" / path).exists()] == []
