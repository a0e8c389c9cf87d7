"""An engine that sees other files than this machine, as one from a snap does: a daemon in a mount namespace of its own.

What is written into a project that only the engine sees would be lost to the person, so nothing is started there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import RUN_DIR
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.environments import engine_files, run_directory
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import ContainerExited, EngineElsewhere
from jupyter_mlenv.kernels.kernel_error import KernelError
from jupyter_mlenv.planning.model import environment_id
from tests.support.daemons import Daemon, running_daemon
from tests.support.environments import Named, Settings, failure, inside, opened, start
from tests.support.kernels import Home, kernel
from tests.support.lab import PERSON, as_person
from tests.support.repository import ROOT

WRITE = "import json, os; open('made', 'w').close(); print(json.dumps(sorted(os.listdir())))"


@contextmanager
def everybodys_folder() -> Iterator[Path]:
    """One that also an ordinary person gets to, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="mlenv-h-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def hidden() -> Iterator[Path]:
    """A folder that is another one, and empty at first, for the daemon."""
    with everybodys_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon(hidden: Path) -> Iterator[Daemon]:
    with running_daemon([hidden], network=True) as made:
        yield made


@pytest.fixture
def project(hidden: Path) -> Path:
    """A project that only this machine has."""
    folder = hidden / os.urandom(4).hex()
    folder.mkdir()
    (folder / "work.py").touch()
    return folder


@pytest.fixture(params=[True, False], ids=["by socket", "by port"])
def shared(request: pytest.FixtureRequest) -> bool:
    """Whether the agent is reached by a socket in a folder of this machine."""
    return bool(request.param)


async def refused(daemon: Daemon, settings: Settings, workspace: Path, preset: str = "host", **wishes: object) -> str:
    """What a person is told; nothing is left of that start."""
    config = settings(engine_url=daemon.url, **wishes)
    before = sorted(os.listdir(workspace))
    async with opened(config) as environments:
        error, _ = await failure(environments, preset, workspace)
        assert await environments.list() == []
    assert isinstance(error, EngineElsewhere), error
    assert daemon.containers() == []
    assert os.listdir(config.run_root) == []
    assert sorted(os.listdir(workspace)) == before
    return f"{error.message} {error.hint}"


async def test_a_project_that_is_another_folder_there(
    daemon: Daemon, settings: Settings, project: Path, shared: bool
) -> None:
    daemon.makes(project)
    said = await refused(daemon, settings, project, shared_filesystem=shared)
    assert str(project) in said
    assert "lost" in said
    assert "snap" in said
    assert daemon.sees(project) == []


async def test_a_project_that_is_not_there(daemon: Daemon, settings: Settings, project: Path, shared: bool) -> None:
    said = await refused(daemon, settings, project, shared_filesystem=shared)
    assert f"The engine has no {project}, which is there on this machine" in said
    assert "snap" in said
    assert project.name not in daemon.sees(project.parent)


async def test_data_that_is_another_folder_there(
    daemon: Daemon, settings: Settings, named: Named, workspace: Path, project: Path
) -> None:
    preset = named("data", f'extends = "host"\n[[mounts]]\nsource = "{project}"\ntarget = "/data"\n')
    assert f"The engine has no {project}" in await refused(daemon, settings, workspace, preset)
    daemon.makes(project)
    assert str(project) in await refused(daemon, settings, workspace, preset)
    assert daemon.sees(project) == []


async def test_a_run_directory_that_is_not_there(
    daemon: Daemon, settings: Settings, workspace: Path, hidden: Path
) -> None:
    said = await refused(daemon, settings, workspace, run_root=str(hidden / "runs"))
    assert "run directory" in said
    assert "--MlenvConfig.run_root" in said
    assert "--MlenvConfig.shared_filesystem=False" in said
    # Which helps.
    config = settings(engine_url=daemon.url, run_root=str(hidden / "runs"), shared_filesystem=False)
    async with opened(config) as environments:
        environment, _ = await start(environments, "host", workspace)
        assert "made" in await inside(environments, environment.id, WRITE)
    assert (workspace / "made").exists()


async def test_a_run_directory_that_is_another_folder_there(
    daemon: Daemon, settings: Settings, workspace: Path, hidden: Path
) -> None:
    """Some engines make what they do not have. The agent answers in there then, where nobody hears it."""
    config = settings(engine_url=daemon.url, run_root=str(hidden / "others"))
    id = environment_id(config.owner, str(workspace), "host", "")
    daemon.makes(Path(run_directory.inside(f"{config.run_root}/{id[-10:]}")))
    said = await refused(daemon, settings, workspace, run_root=str(hidden / "others"))
    assert "run directory" in said
    assert "--MlenvConfig.shared_filesystem=False" in said


async def test_a_python_that_is_not_there(
    daemon: Daemon, settings: Settings, workspace: Path, project: Path, shared: bool
) -> None:
    """The one that is to run in there; the folder that it lies in is there, and empty."""
    venv.create(project / "venv", symlinks=True)
    daemon.makes(project / "venv")
    python = str(project / "venv" / "bin" / "python")
    config = settings(engine_url=daemon.url, host_python=python, shared_filesystem=shared)
    async with opened(config) as environments:
        error, _ = await failure(environments, "host", workspace)
    assert isinstance(error, ContainerExited)
    assert f"{python}, which runs on this machine, does not run there" in error.message
    assert "snap" in error.hint
    assert daemon.containers() == []


async def test_the_same_files(daemon: Daemon, settings: Settings, workspace: Path, shared: bool) -> None:
    config = settings(engine_url=daemon.url, shared_filesystem=shared)
    async with opened(config) as environments:
        mounts = (Mount(str(workspace), "/again"),)
        environment, _ = await start(environments, "host", workspace, mounts=mounts)
        if shared:  # where an agent that is slow is told from one that nobody hears
            run = run_directory.inside(environment.run_dir)
            (Path(run) / "told").write_text("seen")
            assert await environments.engine.read_file(environment.container, f"{RUN_DIR}/told") == b"seen"
            await engine_files.hear(Mount(run, RUN_DIR), environments.engine, environment.container)
            assert sorted(os.listdir(run)) == ["agent.sock", "told"]
        assert "made" in await inside(environments, environment.id, WRITE)
    assert (workspace / "made").exists()
    assert daemon.containers() == []


async def test_one_whose_data_lie_elsewhere_is_found_out(
    settings: Settings, hidden: Path, project: Path, workspace: Path
) -> None:
    """It is taken for one on another machine then, and reached over a port."""
    with running_daemon([hidden], network=True, apart=True) as daemon:
        daemon.makes(project)
        assert "lost" in await refused(daemon, settings, project)
        assert daemon.sees(project) == []
        async with opened(settings(engine_url=daemon.url)) as environments:
            assert not (await environments.engine.facts()).shares_filesystem
            environment, _ = await start(environments, "host", workspace)
            assert "made" in await inside(environments, environment.id, WRITE)
    assert (workspace / "made").exists()


async def test_what_was_made_before_it_saw_others_is_not_started(settings: Settings, project: Path) -> None:
    """As after a Docker from the distribution was replaced by one from a snap, with its data."""
    with running_daemon() as daemon:
        async with opened(settings(engine_url=daemon.url, network="none")) as environments:
            made, _ = await start(environments, "host", project)
            for place, said in ((project, "lost"), (project.parent, "The engine has no")):
                daemon.stop()
                daemon.hidden = [place]
                daemon.start()
                for again in (environments.resume, environments.restart):
                    _, job = await again(made.id)
                    with pytest.raises(EngineElsewhere, match=said):
                        await job.wait()
                    assert (await environments.get(made.id)).state is State.STOPPED
                assert daemon.sees(place) == []
            daemon.stop()
            daemon.hidden = []
            daemon.start()
            _, job = await environments.resume(made.id)
            assert (await job.wait()).state is State.RUNNING


async def test_a_kernel_says_it(daemon: Daemon, make_home: Callable[..., Home], named: Named, project: Path) -> None:
    home = make_home(engine_url=daemon.url)
    daemon.makes(project)
    with pytest.raises(KernelError) as caught:
        await kernel(home.add(named("box", 'extends = "host"\n')), project).__aenter__()
    assert f"is not what this machine has at {project}" in str(caught.value)
    assert "snap" in str(caught.value)
    assert daemon.containers() == []
    assert daemon.sees(project) == []


def checked(daemon: Daemon, home: Path, workspace: Path, *settings: str) -> dict[str, dict[str, str]]:
    """What `doctor` says to somebody with this home, who stands in this project."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_mlenv.cli", "doctor", "--json", *settings],
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "DOCKER_HOST": daemon.url},
        capture_output=True,
        check=False,
        timeout=120,
    )
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_doctor_says_it(daemon: Daemon, owner: str, run_root: str, workspace: Path, project: Path) -> None:
    settings = [f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={run_root}"]
    home = workspace.parent / "home"
    home.mkdir()
    for other in (False, True):
        if other:
            daemon.makes(project)
        for found in (
            checked(daemon, home, project, *settings),  # the project is another one there
            checked(daemon, project, workspace, *settings),  # all of home is
        ):
            assert found["Shared files"]["status"] == "problem", found
            assert str(project) in found["Shared files"]["message"]
            assert "snap" in found["Shared files"]["hint"]
            assert "Container" not in found
    found = checked(daemon, home, workspace, *settings)
    assert (found["Shared files"]["status"], found["Container"]["status"]) == ("ok", "ok"), found
    assert os.listdir(home) == []
    assert os.listdir(project) == ["work.py"]
    assert daemon.sees(project) == []
    assert daemon.containers() == []


@pytest.fixture
def home() -> Iterator[Path]:
    """The home directory of a person."""
    with everybodys_folder() as folder:
        yield folder


def test_an_ordinary_person_is_told(daemon: Daemon, home: Path, owner: str, project: Path) -> None:
    same = home / "same"
    same.mkdir()
    (same / ".git").touch()
    (project / ".git").touch()
    uid = PERSON if os.getuid() == 0 else os.getuid()
    for path in [home, *home.rglob("*"), project, *project.iterdir()] if uid == PERSON else ():
        os.chown(path, PERSON, PERSON)
    daemon.makes(project, uid)

    def typed(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
        settings = [f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={home}/run"]
        return subprocess.run(
            [*as_person(uid), sys.executable, "-m", "jupyter_mlenv.cli", *words, *settings],
            cwd=workspace,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "DOCKER_HOST": daemon.url},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )

    try:
        told = typed(project, "start", "host")
        assert told.returncode == 1, told
        assert f"is not what this machine has at {project}" in told.stderr
        assert "snap" in told.stderr
        assert json.loads(typed(project, "list", "--json").stdout) == []
        assert daemon.sees(project) == []
        assert sorted(os.listdir(project)) == [".git", "work.py"]
        assert typed(same, "start", "host").returncode == 0
        [made] = json.loads(typed(same, "list", "--json").stdout)
        assert (made["workspace"], made["state"]) == (str(same), "running")
    finally:
        left = json.loads(typed(same, "list", "--json").stdout)
        removed = [typed(same, "rm", "--yes", each["id"]).returncode for each in left]
    assert removed == [0]
    assert daemon.containers() == []
