"""Two servers, the command line and kernels do everything at once to the same environments."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from tests.support.environments import Left, Named
from tests.support.kernels import Home
from tests.support.storm import Storm

ROUNDS = int(os.environ.get("STORM_ROUNDS", "2"))
"""How long it goes on: `STORM_ROUNDS=60` for about seven minutes."""


@pytest.fixture
async def servers(environments: Environments, home: Home) -> AsyncIterator[list[Environments]]:
    """The use cases of two processes."""
    other = Environments(home.config.engine(), home.config.settings(), Jobs())
    yield [environments, other]
    await other.close()


@pytest.fixture
def projects(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / f"project-{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir()
        (folder / ".git").touch()
    return folders


async def test_a_storm_leaves_no_job_without_an_end_and_nothing_behind(
    servers: list[Environments], home: Home, named: Named, projects: list[Path], left: Left
) -> None:
    storm = Storm(servers, home, named("storm", 'extends = "host"\n'), projects)
    for _ in range(ROUNDS):
        await storm.round()
    print(dict(storm.seen))
    for environment in await servers[0].list():
        await servers[1].remove(environment.id)
    assert left() == []
    assert [len(server._lifecycle.locks) for server in servers] == [0, 0]
