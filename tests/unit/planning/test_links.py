"""Links that lead out of a project are named with the mount for each, and never mounted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.planning import links
from jupyter_mlenv.treewalk import Budget, OutOfTime
from tests.unit.planning.test_plan import ANN, make, preset


@pytest.fixture
def big(tmp_path: Path) -> Path:
    folder = tmp_path / "big disk"
    folder.mkdir()
    (folder / "a.csv").touch()
    return folder


@pytest.fixture
def project(tmp_path: Path, big: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "input" / "deep").mkdir(parents=True)
    (folder / ".venv").mkdir()
    (folder / "data").symlink_to(big)
    (folder / "input" / "a.csv").symlink_to(big / "a.csv")
    (folder / "input" / "deep" / "unseen").symlink_to(big)
    (folder / "inside").symlink_to(folder / "input")
    (folder / "gone").symlink_to(folder / "nothing")
    (folder / ".venv" / "python").symlink_to(big / "a.csv")
    return folder


def test_each_is_named_with_its_mount(project: Path, big: Path) -> None:
    plan = make(preset(), workspace=str(project))
    first, second = plan.notes
    assert first.startswith(f"data leads to {big}, which the environment does not have.")
    assert f"--mount '{big}'" in first
    assert second.startswith(f"input/a.csv leads to {big / 'a.csv'}")
    assert not [mount for mount in plan.container.mounts if str(big) in mount.source]


def test_what_is_mounted_is_not_named(project: Path, big: Path) -> None:
    assert make(preset(), workspace=str(project), mounts=(Mount(str(big), str(big)),)).notes == ()
    # At another place the link still leads nowhere.
    assert len(make(preset(), workspace=str(project), mounts=(Mount(str(big), "/data2"),)).notes) == 2


def test_what_is_shared_or_lent_is_not_named(tmp_path: Path, project: Path, big: Path) -> None:
    sharing = dataclasses.replace(ANN, home=str(tmp_path), shared_folders=("big disk",))
    assert make(preset(), sharing, workspace=str(project)).notes == ()
    (project / "python").symlink_to("/usr/bin")
    named = [note.split(" leads")[0] for note in make(preset(), workspace=str(project)).notes]
    assert sorted(named) == ["data", "input/a.csv", "python"]
    lent = make(preset("host = true"), workspace=str(project)).notes
    assert len(lent) == 2
    assert "python leads" not in " ".join(lent)


def test_a_look_is_bounded(project: Path, big: Path) -> None:
    for number in range(20):
        (project / f"more{number}").symlink_to(big)
    assert len(links.notes(str(project), [])) == links.MAX_NAMED + 1
    budget = Budget()
    budget.stop()
    with pytest.raises(OutOfTime):
        links.notes(str(project), [], budget)
