"""The programs of `make torture` are whole: each module brings its cases, and what runs inside is plain Python."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.torture import __main__ as torture
from tests.torture.case import CASES, Case, Outcome, table

HERE = Path(torture.__file__).parent


def test_every_module_has_cases_and_every_case_a_name_of_its_own() -> None:
    assert {case.attack.__module__ for case in CASES} == {module.__name__ for module in torture.MODULES}
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


def test_what_runs_inside_needs_only_an_old_python_and_nothing_of_ours() -> None:
    for name in ("hostile.py", "hostileweb.py"):
        tree = ast.parse((HERE / name).read_text(), feature_version=(3, 8))
        modules = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        assert not modules & {"tests", "jupyter_mlenv", "aiohttp"}


def test_the_table_says_which_failed() -> None:
    case = Case("an attack", "nothing", lambda ground: "")
    rows = table([Outcome(case, True, "a\nb", 1.0, 2.0), Outcome(case, False, "x", 1.0, 2.0)]).splitlines()
    assert [row.split()[-1] for row in rows[1:]] == ["pass", "FAIL"]
    assert "a b" in rows[1]
