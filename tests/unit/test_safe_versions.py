"""A Jupyter with known holes is refused on this machine, and named where one runs all the same."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from jupyter_mlenv import safe_versions
from jupyter_mlenv.cli.doctor import host_checks
from tests.support.repository import ROOT

PYPROJECT = ROOT / "pyproject.toml"


def test_this_machine_s_requirements_are_the_floors() -> None:
    asked = dict(re.findall(r'^  "(jupyter\w+)>=([\d.]+)"', PYPROJECT.read_text(), re.MULTILINE))
    assert {name: asked[name] for name in safe_versions.FLOORS} == safe_versions.FLOORS


@pytest.mark.parametrize(
    ("name", "number", "old"),
    [
        ("jupyter_server", "2.20.0", True),
        ("jupyter_server", "2.9.1", True),
        ("jupyter_server", "1.24", True),
        ("jupyter_server", "2.21", False),
        ("jupyter_server", "2.21.0.dev0", False),
        ("jupyter_server", "2.100", False),
        ("jupyterlab", "4.6.1", True),
        ("jupyterlab", "3.6.8", True),
        ("jupyterlab", "4.6.2", False),
        ("jupyterlab", "4.10.0a1", False),
        ("jupyterlab", "unknown", False),
        ("jupyterlab", "9" * 5000, False),
        ("numpy", "1.0", False),
    ],
)
def test_what_is_too_old(name: str, number: str, old: bool) -> None:
    assert safe_versions.older({name: number}) == ({name: number} if old else {})


def test_doctor_names_an_old_jupyter_and_what_to_do() -> None:
    check = host_checks.old_jupyter({"jupyterlab": "4.5.0", "jupyter_server": version("jupyter_server")})
    assert check is not None
    assert (check.status, "4.5.0" in check.message) == ("problem", True)
    assert "'jupyterlab>=4.6.2'" in check.hint
    assert "jupyter_server" not in check.hint
    assert host_checks.old_jupyter({"jupyterlab": "4.6.2", "jupyter_server": "2.21.0"}) is None


def test_a_person_is_told_about_the_jupyter_of_an_environment() -> None:
    said = safe_versions.sentence({"jupyter_server": "2.14.2\x1b]52;c;x\x07", "jupyterlab": "4.6.6"})
    assert "jupyter_server 2.14.2" in said
    assert "'jupyter_server>=2.21'" in said
    assert "\x1b" not in said
    assert safe_versions.sentence({"jupyter_server": "2.21.1", "jupyterlab": "4.6.6"}) == ""
    assert safe_versions.sentence({}) == ""
