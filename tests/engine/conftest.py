"""Every test here needs the engine; the session's sweep at its end comes with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.kernels import loop_thread
from tests.support.kernels import Home, remove_all
from tests.support.leftovers import connect


@pytest.fixture(scope="session", autouse=True)
def _engine(engine_ready: str) -> None:
    """Set up first, so torn down last: after every other fixture has cleaned up."""


@pytest.fixture(scope="session")
def preset_prefix(owner: str, engine_ready: str) -> Iterator[str]:
    """What the names of this session's own presets start with: images built for them are removed at the end.

    Images carry no owner, since environments of several people share them, so the name has to tell whose they are.
    """
    yield f"{owner}-"
    with closing(connect()) as client:
        for image in client.images(filters={"reference": f"mlenv/{owner}-*"}):
            for tag in image["RepoTags"] or ():
                client.remove_image(tag)


@pytest.fixture
def named(presets: Path, preset_prefix: str) -> Callable[[str, str], str]:
    """Writes a preset of this session's own from its TOML text, and returns its whole name."""

    def write(name: str, text: str) -> str:
        (presets / f"{preset_prefix}{name}.toml").write_text(f"schema = 1\n{text}")
        return f"{preset_prefix}{name}"

    return write


@pytest.fixture
def settings(owner: str, run_root: str, presets: Path) -> Callable[..., MlenvConfig]:
    """Makes the configuration that a person would have, for this session's owner and the presets of this test."""

    def make(**traits: Any) -> MlenvConfig:
        given = {"owner": owner, "run_root": run_root, "preset_paths": [str(presets)], **traits}
        return MlenvConfig(config=Config({"MlenvConfig": given}))

    return make


@pytest.fixture
def left(owner: str, run_root: str) -> Callable[[], list[str]]:
    """Tells which containers and run directories of this session there are; none is what a failed start leaves."""

    def look() -> list[str]:
        with closing(connect()) as client:
            containers = client.containers(all=True, filters={"label": f"{LABEL}.owner={owner}"})
        return [entry["Names"][0] for entry in containers] + [str(path) for path in Path(run_root).iterdir()]

    return look


@pytest.fixture
async def make_home(
    tmp_path: Path, owner: str, run_root: str, presets: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Home]]:
    """Makes a Jupyter home with settings of its own; in this process too kernels are those of this home."""
    made: list[Home] = []

    def make(**traits: Any) -> Home:
        folder = tmp_path / "jupyter"
        folder.mkdir()
        home = Home(folder, owner, run_root, presets, **traits)
        for name, value in home.environment.items():
            if name != "PYTHONPATH":
                monkeypatch.setenv(name, value)
        made.append(home)
        return home

    yield make
    await asyncio.to_thread(loop_thread.close)
    for home in made:
        await remove_all(Environments(home.config.engine(), home.config.settings(), Jobs()))


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    """A Jupyter home with the session's settings."""
    return make_home()


@pytest.fixture
async def environments(home: Home) -> AsyncIterator[Environments]:
    """The use cases, to look from outside at what kernels do."""
    made = Environments(home.config.engine(), home.config.settings(), Jobs())
    yield made
    await made.close()
