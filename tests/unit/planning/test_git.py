"""Worktrees and submodules have their history in the environment; nobody else's directory gets in by a `.git` file."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.planning import git
from tests.unit.planning.test_plan import ANN, make, preset


def run(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@test", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    folder = home / "main"
    folder.mkdir()
    run(folder, "init", "-q")
    run(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return folder


@pytest.fixture
def worktree(main: Path) -> Path:
    run(main, "worktree", "add", "-q", "../wt")
    return main.parent / "wt"


def test_a_worktree_brings_the_repository(main: Path, worktree: Path) -> None:
    assert git.directory(str(worktree), ANN) == (str(main / ".git"), "")
    plan = make(preset(), workspace=str(worktree))
    assert Mount(f"{main}/.git", f"{main}/.git") in plan.container.mounts
    assert plan.notes == ()
    assert git.directory(str(main), ANN) == ("", "")


def test_a_submodule_brings_its_own_part_of_the_repository(main: Path, worktree: Path) -> None:
    run(main, "submodule", "add", "-q", str(worktree), "lib")
    assert git.directory(str(main / "lib"), ANN) == (str(main / ".git/modules/lib"), "")


def test_a_git_file_alone_brings_nothing(main: Path, worktree: Path, tmp_path: Path) -> None:
    """As it may lie in a download, or be written by code in an environment."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    keys = tmp_path / "home" / ".ssh"
    keys.mkdir()
    inner = stranger / "inner"
    inner.mkdir()
    (inner / "commondir").write_text(f"{keys}\n")
    for target in (main / ".git", main / ".git/worktrees/wt", keys, "/nowhere"):
        (stranger / ".git").write_text(f"gitdir: {target}\n")
        found, note = git.directory(str(stranger), ANN)
        assert found == ""
        assert "git will not work" in note
    (stranger / ".git").write_text("gitdir: inner\n")
    assert git.directory(str(stranger), ANN) == ("", "")
    # One that has everything else and says of itself that the keys are its own.
    (inner / "gitdir").write_text(f"{stranger}/.git\n")
    shutil.move(inner, tmp_path / "inner")
    (stranger / ".git").write_text("gitdir: ../inner\n")
    assert git.directory(str(stranger), ANN)[0] == ""


def test_where_workspaces_are_confined_so_is_the_repository(worktree: Path) -> None:
    found, note = git.directory(str(worktree), dataclasses.replace(ANN, allowed_workspaces=(str(worktree),)))
    assert found == ""
    assert "outside of the allowed workspaces" in note


def test_odd_git_files_are_read_without_harm(tmp_path: Path) -> None:
    for make_it in (
        lambda path: path.write_bytes(b"\xff\xfe" * 9000),
        lambda path: path.write_text("gitdir:"),
        lambda path: path.symlink_to("/etc/passwd"),
        os.mkfifo,
    ):
        make_it(tmp_path / ".git")
        assert git.directory(str(tmp_path), ANN) == ("", "")
        (tmp_path / ".git").unlink()
