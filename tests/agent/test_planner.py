"""Presets and plans are read beside the event loop, and a look at a large project costs little."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments import manager as module
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import PresetInvalid
from jupyter_mlenv.planning import user_dockerfile
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.presets.model import Preset
from jupyter_mlenv.settings import Settings
from jupyter_mlenv.treewalk import ENTRIES_PER_LOOK
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually


@pytest.fixture
def settings(tmp_path: Path, run_root: str, owner: str) -> Settings:
    """A preset of the person's own, whose Dockerfile copies a folder of a project."""
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "built.toml").write_text(f'[image]\ndockerfile = "Dockerfile"\ncontext = "{tmp_path}/project"\n')
    (presets / "Dockerfile").write_text("FROM base:1\nCOPY data /data\n")
    return Settings(
        owner=owner,
        uid=os.getuid(),
        gid=os.getgid(),
        username="ann",
        run_root=run_root,
        preset_paths=(str(presets),),
        allowed_workspaces=(str(tmp_path),),
        start_timeout=120.0,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With more files than are read between two looks at the time."""
    folder = tmp_path / "project" / "data"
    folder.mkdir(parents=True)
    for number in range(2 * ENTRIES_PER_LOOK):
        (folder / str(number)).touch()
    return folder.parent


@pytest.fixture
async def environments(settings: Settings) -> AsyncIterator[Environments]:
    engine = FakeEngine(agent=True)
    made = Environments(engine, settings, Jobs())
    yield made
    for environment in await made.list():
        await made.remove(environment.id)
    await made.close()


async def built(environments: Environments, project: Path) -> Preset:
    presets, broken = await environments.presets(str(project))
    assert broken == []
    return next(preset for preset in presets if preset.name == "built")


def write_preset(environments: Environments, text: str) -> Path:
    own = Path(environments.settings.preset_paths[0], "here.toml")
    own.write_text(text)
    return own


async def test_a_look_at_a_project_that_takes_long_says_that_it_is_not_known(
    environments: Environments, project: Path
) -> None:
    preset = await built(environments, project)
    assert await environments.ready([preset], str(project), seconds=0) == {"built": None}
    assert await environments.ready([preset], str(project), seconds=None) == {"built": False}


async def test_a_click_on_a_running_environment_does_not_wait_for_what_its_image_is_made_of(
    environments: Environments, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = StartRequest("built", str(project))
    _, job = await environments.start(request)
    first = await job.wait()
    assert first.state is State.RUNNING
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    again, job = await environments.start(request)
    assert again.id == first.id
    assert (await job.wait()).container == first.container
    await environments.stop(first.id)
    (project / "data" / "0").write_text("changed")
    _, job = await environments.start(request)
    assert (await job.wait()).outdated, "one that does not run is planned in full"


async def test_the_loop_goes_on_while_files_are_read(
    environments: Environments, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> str:
        inside.set()
        assert go_on.wait(30), "the loop stood still"
        return "digest"

    monkeypatch.setattr(user_dockerfile, "context_digest", slow)
    preset = await built(environments, project)
    for work in (environments.ready([preset], str(project)), environments.start(StartRequest("built", str(project)))):
        task = asyncio.ensure_future(work)
        await eventually(inside.is_set, "it reads")
        go_on.set()
        await task
        inside.clear()
        go_on.clear()


async def test_who_does_not_wait_any_more_ends_the_reading(environments: Environments, project: Path) -> None:
    preset = await built(environments, project)
    planner = environments._planner
    reading, ended = threading.Event(), threading.Event()

    def make(*, pause: object) -> None:
        reading.set()
        try:
            while True:
                pause()  # type: ignore[operator]
        finally:
            ended.set()

    task = asyncio.ensure_future(planner._read(make, None))
    await eventually(reading.is_set, "it reads")
    task.cancel()
    await eventually(ended.is_set, "it has ended")
    assert preset.name == "built"


async def test_what_a_preset_of_a_project_reads_stays_in_the_project(
    environments: Environments, project: Path, tmp_path: Path
) -> None:
    """The check of the preset came first; what was a folder then has become a link by the time that it is read."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Dockerfile").write_text("FROM base:1\n")
    (project / "docker").symlink_to("../out")
    write_preset(environments, f'[image]\ndockerfile = "{project}/docker/Dockerfile"\n')
    with pytest.raises(PresetInvalid, match="a link in its path leads out"):
        await environments.start(StartRequest("here", str(project)))
    (project / "docker").unlink()
    (project / "docker").symlink_to("real")
    (project / "real").mkdir()
    (project / "real" / "Dockerfile").write_text("FROM base:1\n")
    _, job = await environments.start(StartRequest("here", str(project)))
    assert (await job.wait()).state is State.RUNNING


async def test_a_file_without_an_end_is_refused(environments: Environments, project: Path) -> None:
    own = write_preset(environments, '[image]\nbase = "base:1"\nrequirements = "big.txt"\n')
    with own.with_name("big.txt").open("wb") as file:
        file.truncate(400 << 20)
    with pytest.raises(PresetInvalid, match="more than 1048576 bytes"):
        await environments.start(StartRequest("here", str(project)))
