"""TensorBoard finds the runs of a project wherever a training writes them, also later, and within bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_mlenv.agent.tensorboard_process import main, runs
from jupyter_mlenv.agent.tensorboard_process.runs import Runs
from tests.agent.test_agent import get, start
from tests.support.agents import agent
from tests.support.events import write_scalars
from tests.support.waiting import eventually

MAIN = str(Path(main.__file__))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def found(project: Path, tmp_path: Path) -> Runs:
    (tmp_path / "farm").mkdir()
    return Runs(str(project), str(tmp_path / "farm"))


def event(folder: Path, name: str = "events.out.tfevents.1.host") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


def linked(made: Runs) -> set[str]:
    """What TensorBoard finds, which follows links."""
    made.refresh()
    walked = os.walk(made.farm, followlinks=True)
    return {
        os.path.relpath(folder, made.farm) for folder, _, files in walked if any("tfevents" in name for name in files)
    }


def test_runs_lie_where_trainings_put_them(project: Path, found: Runs) -> None:
    places = ["lightning_logs/version_0", "notebooks/runs/a", "outputs/2026-01-01/12-00/tb", "logs/x"]
    for place in places:
        event(project / place)
    event(project / "runs" / "first")
    event(project / "runs" / "first" / "eval")
    assert linked(found) == {*places, "first", "first/eval"}


def test_what_comes_and_goes_is_followed(project: Path, found: Runs) -> None:
    (project / "logs").mkdir()
    assert linked(found) == set()
    event(project / "deep" / "runs" / "a" / "train")
    event(project / "runs" / "b")
    assert linked(found) == {"deep/runs/a/train", "b"}
    event(project / "deep" / "runs" / "a")  # now the outer one is a run, too
    assert linked(found) == {"deep/runs/a", "deep/runs/a/train", "b"}
    (project / "runs").rename(project / "old")
    assert linked(found) == {"deep/runs/a", "deep/runs/a/train", "old/b"}
    assert sorted(os.listdir(found.farm)) == ["deep", "old"]


def test_a_folder_that_has_settled_is_not_read_again(
    project: Path, found: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    event(project / "runs" / "a")
    for path in (project, project / "runs", project / "runs" / "a"):
        os.utime(path, (1, 1))
    read: list[str] = []
    monkeypatch.setattr(runs, "entries", lambda path, entries=runs.entries: (read.append(path), entries(path))[1])
    found.refresh()
    assert len(read) == 3
    found.refresh()
    assert len(read) == 3
    event(project / "runs" / "b")
    assert linked(found) == {"a", "b"}
    assert len(read) == 5


def test_two_that_would_have_one_name_keep_their_paths(project: Path, found: Runs) -> None:
    for place in ("runs/lightning_logs/v0", "lightning_logs/v0", "runs/own"):
        event(project / place)
    assert linked(found) == {"runs/lightning_logs/v0", "lightning_logs/v0", "own"}


def test_the_projects_own_folder_is_no_run_with_everything_in_it(project: Path, found: Runs) -> None:
    event(project)
    event(project / "data" / "sub")
    assert linked(found) == {".", "data/sub"}
    assert os.path.islink(os.path.join(found.farm, "events.out.tfevents.1.host"))


def test_a_look_is_bounded(project: Path, found: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (".venv/x", "node_modules/x", "env/lib/x", "/".join("abcdefghij")):
        event(project / place)
    (project / "env" / "pyvenv.cfg").touch()
    (project / "loop").symlink_to(project)
    event(project / "runs" / "a")
    assert linked(found) == {"a"}
    monkeypatch.setattr(runs, "MAX_FOLDERS", 3)
    for number in range(10):
        event(project / f"many{number}")
    assert len(linked(found)) <= 2


async def test_a_real_one_shows_several_folders_and_new_ones(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scalars(project / "lightning_logs" / "version_0", "loss", [1.0, 0.5])
    command = [sys.executable, MAIN, "{workspace}", "--host=127.0.0.1", "--port={port}", "--path_prefix={path_prefix}"]
    async with agent() as running:
        base = "/user/alice%40b/o%27neil%20%C3%BC/"
        board = await start(running, "board", command, base_url=base, timeout=60, variables={"workspace": str(project)})

        async def shown() -> set[str]:
            status, body = await get(running.client, board, base + "data/runs")
            assert status == 200
            return set(json.loads(body))

        async def now(*names: str) -> bool:
            return await shown() == set(names)

        await eventually(lambda: now("lightning_logs/version_0"), "the first run is shown")
        write_scalars(project / "notebooks" / "runs" / "a", "loss", [1.0])
        await eventually(lambda: now("lightning_logs/version_0", "notebooks/runs/a"), "the second run is shown")


def test_an_old_one_has_what_newer_setuptools_lack() -> None:
    """As TensorBoard 2.1 to 2.20 use it: tensorboard/default.py, tensorboard/data/server_ingester.py."""
    module = main.pkg_resources()
    [point] = module.iter_entry_points("console_scripts", "pytest")
    assert callable(point.resolve())
    assert module.parse_version("2.19.0") >= module.parse_version("2.9")
    assert list(module.iter_entry_points("no.such.group")) == []


def test_without_tensorboard_it_says_so(project: Path) -> None:
    done = subprocess.run([sys.executable, "-S", MAIN, str(project)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "TensorBoard cannot be imported here: No module named 'tensorboard'"
