"""Fixtures of every suite. Nothing touches an engine until a test asks for it: unit, agent and server run without."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.repository import ROOT

BASE_IMAGE = "mlenv/base:bookworm"


@pytest.fixture(scope="session")
def owner() -> str:
    """The owner label (`jupyter-mlenv.owner`) of everything this session makes; unique per session."""
    from tests.support.leftovers import new_owner

    return new_owner()


@pytest.fixture(scope="session")
def run_root(request: pytest.FixtureRequest, owner: str) -> Iterator[str]:
    """A short 0700 directory for this session's run directories (`Settings.run_root`); empty again at the end."""
    from tests.support.leftovers import new_run_root

    path = new_run_root(owner)
    yield str(path)
    left = sorted(entry.name for entry in path.iterdir())
    shutil.rmtree(path)
    if left and not request.session.testsfailed:
        pytest.fail(f"The tests passed and left run directories behind (removed now): {', '.join(left)}")


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    """An empty folder for presets, as `MlenvConfig.preset_paths` names one."""
    folder = tmp_path / "presets"
    folder.mkdir()
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty project folder: it has a marker, so it is its own workspace."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "project"\nversion = "0"\n')
    return folder


@pytest.fixture(scope="session")
def engine_ready(request: pytest.FixtureRequest, owner: str) -> Iterator[str]:
    """The version of the Docker engine that answers. It fails, never skips, where none does.

    At the end of the session everything with this session's owner label is removed, whatever happened before. What a
    passing session leaves behind is an error: its tests, or the product, did not clean up.
    """
    import docker.errors

    from tests.support.leftovers import connect, sweep

    try:
        client = connect()
        version = str(client.version()["Version"])
    except docker.errors.DockerException as error:
        pytest.fail(
            f"These tests need a Docker engine, and none answers: {error}\n`make test` installs and starts one."
        )
    with closing(client):
        yield version
        left = sweep(client, lambda label: label == owner)
    if left and not request.session.testsfailed:
        pytest.fail(f"The tests passed and left behind (removed now): {', '.join(left)}")


@pytest.fixture(scope="session")
def base_image(engine_ready: str) -> str:
    """Reference of the base image made from Debian's packages. Kept between sessions: making it takes a minute."""
    from jupyter_mlenv.engines.docker import DockerEngine
    from jupyter_mlenv.images import debootstrap
    from tests.support.reporting import Recorder
    from tests.support.waiting import run_apart

    async def make() -> None:
        engine = DockerEngine()
        try:
            await debootstrap.make(engine, Recorder(), reference=BASE_IMAGE)
        finally:
            await engine.close()

    cache = ROOT / ".cache" / "test"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "base-image.lock").open("w") as lock:  # suites run beside each other, and one of them makes it
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_apart(make)
    return BASE_IMAGE


@pytest.fixture(scope="session")
def registry(owner: str) -> Iterator[str]:
    """`127.0.0.1:<port>` of a real, empty image registry that lives as long as the session."""
    from tests.support.registry import running_registry

    with running_registry(owner) as address:
        yield address
