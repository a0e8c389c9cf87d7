"""What is written for people agrees with what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jupyter_mlenv._version import __version__
from tests.support.repository import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_are_mentioned_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert mentioned <= targets


def test_the_readme_names_every_command() -> None:
    from jupyter_mlenv.cli.app import COMMANDS

    lines = " ".join(re.findall(r"jupyter mlenv ([a-z|]+)", read("README.md")))
    assert set(COMMANDS) - {"version"} <= set(re.split(r"[ |]", lines))


def test_the_readme_names_every_preset() -> None:
    presets = {path.stem for path in ROOT.glob("jupyter_mlenv/presets/catalog/[a-z]*.toml")}
    assert presets
    assert presets <= set(re.findall(r"`([a-z-]+)`", read("README.md")))


def test_the_index_of_the_docs_names_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", read("docs/README.md")))


def test_the_changelog_knows_this_version() -> None:
    assert __version__ in read("CHANGELOG.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    environment = {**os.environ, "SKIP_JUPYTER_BUILDER": "1"}  # `make` has built the lab extension
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_both_halves_of_the_extension(wheel: list[str]) -> None:
    data = {name.partition(".data/data/")[2] for name in wheel}
    assert "share/jupyter/labextensions/jupyter-mlenv/package.json" in data
    assert any(re.fullmatch(r"share/jupyter/labextensions/jupyter-mlenv/static/remoteEntry\..*\.js", n) for n in data)
    assert "etc/jupyter/jupyter_server_config.d/jupyter_mlenv.json" in data


def test_the_wheel_holds_every_file_of_the_package(wheel: list[str]) -> None:
    skipped = ("__pycache__", "labextension")
    package = [path.relative_to(ROOT) for path in (ROOT / "jupyter_mlenv").rglob("*") if path.is_file()]
    expected = {path.as_posix() for path in package if not set(skipped) & set(path.parts)}
    assert expected <= set(wheel)


def test_the_files_to_change_exist() -> None:
    table = read("docs/architecture.md").partition("## Where to change what")[2].partition("\n## ")[0]
    names = set(re.findall(r"`((?:[a-z_]+/)+[a-z_.]*|[a-z_]+\.py)`", table))
    assert {"mounts.py", "engines/base.py", "labextension/src/icons.ts"} <= names
    assert [name for name in names if not any((ROOT / top / name).exists() for top in ("jupyter_mlenv", "."))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_120_columns_wide(page: Path) -> None:
    """Tables and code are as wide as they have to be, and so is a word."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    wide = [line for line in text.splitlines() if len(line) > 120 and not line.lstrip().startswith(("|", "#", "!["))]
    assert [line for line in wide if len(line.split()) > 2] == []
