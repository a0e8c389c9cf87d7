"""Which folder is mounted, and which never is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jupyter_mlenv import workspaces
from jupyter_mlenv.errors import WorkspaceForbidden, WorkspaceNotFound
from jupyter_mlenv.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "ann"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def settings(**values: object) -> Settings:
    return Settings(owner="me", uid=1, gid=1, username="ann", run_root="", **values)  # type: ignore[arg-type]


def made(path: Path, *markers: str) -> str:
    path.mkdir(parents=True, exist_ok=True)
    for marker in markers:
        (path / marker).touch()
    return str(path)


def test_the_nearest_project_around_a_folder(home: Path) -> None:
    project = made(home / "code" / "project", "pyproject.toml")
    inner = made(home / "code" / "project" / "src" / "deep")
    assert workspaces.find(inner, settings()) == project
    nested = made(home / "code" / "project" / "examples", "requirements.txt")
    assert workspaces.find(nested, settings()) == nested


def test_a_repository_is_one_project_whatever_lies_in_it(home: Path) -> None:
    """Code in it reaches for `../data` and `../src`."""
    made(home, ".git")
    repository = made(home / "repo", ".git", "mlenv.toml")
    analysis = made(home / "repo" / "analysis", "requirements.txt", "pyproject.toml")
    assert workspaces.find(analysis, settings()) == repository
    assert workspaces.find(analysis, settings(root_dir=analysis)) == analysis
    # A project by its own word, and a repository in the repository, are projects of their own.
    own = made(home / "repo" / "own", "mlenv.toml")
    assert workspaces.find(made(home / "repo" / "own" / "deep", "setup.py"), settings()) == own
    submodule = made(home / "repo" / "lib", ".git")
    assert workspaces.find(submodule, settings()) == submodule


def test_a_path_that_no_engine_can_be_told_is_refused_in_words(home: Path) -> None:
    folder = os.fsencode(home) + b"/caf\xe9"
    os.mkdir(folder)
    with pytest.raises(WorkspaceForbidden, match="no UTF-8") as caught:
        workspaces.check(os.fsdecode(folder), settings())
    assert "caf\\xe9" in str(caught.value.message)
    json.dumps(caught.value.details).encode()
    assert workspaces.check(made(home / "größe 'é\"\\$x"), settings())


def test_a_folder_without_project_is_itself(home: Path) -> None:
    made(home, ".git")  # dotfiles under version control do not make the home directory a workspace
    folder = made(home / "notes")
    assert workspaces.find(folder, settings()) == folder


def test_a_running_environment_wins(home: Path) -> None:
    outer, project = made(home / "a"), made(home / "a" / "b", ".git")
    folder = made(home / "a" / "b" / "c")
    assert workspaces.find(folder, settings(), [outer]) == outer
    assert workspaces.find(folder, settings(), [outer, folder, str(home / "elsewhere")]) == folder
    assert workspaces.find(folder, settings(), [str(home)]) == project


def test_never_above_the_root_directory(home: Path) -> None:
    made(home / "repo", ".git")
    root = made(home / "repo" / "root")
    folder = made(home / "repo" / "root" / "x")
    assert workspaces.find(folder, settings(root_dir=root)) == folder
    with pytest.raises(WorkspaceForbidden, match="root directory"):
        workspaces.check(str(home / "repo"), settings(root_dir=root))


def test_the_home_directory_is_refused_unless_allowed(home: Path) -> None:
    with pytest.raises(WorkspaceForbidden, match="home directory") as caught:
        workspaces.check(str(home), settings())
    assert caught.value.hint
    assert workspaces.check("~", settings(allow_home=True)) == str(home)
    with pytest.raises(WorkspaceForbidden, match="contains the home"):
        workspaces.check(str(home.parent), settings(allow_home=True))


def test_links_and_dots_do_not_escape(home: Path) -> None:
    allowed = made(home / "projects")
    inside = made(home / "projects" / "a")
    outside = made(home / "projects-of-others")
    (home / "projects" / "link").symlink_to(outside)
    (home / "door").symlink_to(inside)
    only = settings(allowed_workspaces=(allowed,))
    for path in (outside, f"{allowed}/link", f"{allowed}/../projects-of-others", "/etc"):
        with pytest.raises(WorkspaceForbidden, match="allowed workspaces"):
            workspaces.check(path, only)
        with pytest.raises(WorkspaceForbidden):
            workspaces.find(path, only)
    with pytest.raises(WorkspaceForbidden, match="leads there"):
        workspaces.check(f"{allowed}/link/..", only)
    assert workspaces.check(str(home / "door"), only) == inside
    assert workspaces.check(allowed, only) == allowed


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/etc/ssl", "/usr/lib", "/proc", "/run", "/var/run", "/dev", "/sys", "/tmp"]
)
def test_the_system_is_refused(home: Path, path: str) -> None:
    with pytest.raises(WorkspaceForbidden):
        workspaces.check(path, settings())


@pytest.mark.parametrize("name", [".ssh", ".config/gh", ".aws"])
def test_keys_are_refused(home: Path, name: str) -> None:
    with pytest.raises(WorkspaceForbidden, match="keys"):
        workspaces.check(made(home / name), settings())


def test_tokens_of_environments_are_refused(home: Path) -> None:
    folder = made(home / "share" / "run")
    refusing = Settings(owner="me", uid=1, gid=1, username="ann", run_root=folder)
    for path in (folder, str(home / "share"), f"{folder}/0123456789"):
        with pytest.raises(WorkspaceForbidden, match="run directories"):
            workspaces.check(path, refusing)


def test_what_is_not_there(home: Path) -> None:
    with pytest.raises(WorkspaceNotFound, match="does not exist"):
        workspaces.check(str(home / "missing"), settings())
    file = home / "file.txt"
    file.touch()
    with pytest.raises(WorkspaceNotFound, match="is a file") as caught:
        workspaces.check(str(file), settings())
    assert str(home) in caught.value.hint
    with pytest.raises(WorkspaceNotFound, match="NUL"):
        workspaces.check("a\0b", settings())


def test_a_relative_folder_and_odd_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(home / "a:b, ü 'x'", "Dockerfile")
    monkeypatch.chdir(folder)
    assert workspaces.find(".", settings()) == folder


@pytest.mark.parametrize(("there", "chosen"), [((), "runs"), (("logs",), "logs"), (("logs", "runs"), "runs")])
def test_logdir(tmp_path: Path, there: tuple[str, ...], chosen: str) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    assert workspaces.logdir(str(tmp_path)) == os.path.join(str(tmp_path), chosen)
