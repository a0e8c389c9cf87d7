"""Every start decides anew: what code inside made of folders meanwhile is mounted into no container."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import EngineElsewhere, JobCancelled, MlenvError, MountForbidden, WorkspaceForbidden
from tests.support.environments import Named, Settings, by_hand, inside, opened, start
from tests.support.lab import PERSON, as_person
from tests.support.repository import ROOT

SWAP = """
import json, os
os.rename(FOLDER, FOLDER + ".old")
os.symlink(SECRET, FOLDER)
print(json.dumps(os.readlink(FOLDER)))
"""
"""Code in an environment makes a link of a folder that it can write."""

SWAPPING = """
import os, subprocess, sys
os.symlink(SECRET, FOLDER + ".link")
code = '''
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
one, other = (name.encode() for name in sys.argv[1:])
while True:
    exchange(-100, one, -100, other, 2)
'''
subprocess.Popen([sys.executable, "-c", code, FOLDER, FOLDER + ".link"], start_new_session=True)
print("null")
"""
"""The same all the time, and back, so that a check often sees the folder and the engine the link."""


def code(text: str, folder: Path, secret: Path) -> str:
    return text.replace("FOLDER", repr(str(folder))).replace("SECRET", repr(str(secret)))


@pytest.fixture
async def environments(settings: Settings) -> AsyncIterator[Environments]:
    async with opened(settings()) as environments:
        yield environments


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """What no environment has been given."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "canary").write_text("a key")
    return folder


@pytest.fixture
def data(workspace: Path) -> Path:
    """A folder of the project."""
    (workspace / "data").mkdir()
    (workspace / "data" / "numbers").touch()
    return workspace / "data"


@pytest.fixture
def mounting(named: Named, data: Path) -> str:
    """The person's own preset that mounts it."""
    return named("mounting", f'extends = "host"\n[[mounts]]\nsource = "{data}"\ntarget = "/data"\n')


async def restarted(environments: Environments, made: Environment) -> None:
    await (await environments.restart(made.id))[1].wait()


async def stopped_and_started(environments: Environments, made: Environment) -> None:
    await environments.stop(made.id)
    await (await environments.resume(made.id))[1].wait()


async def clicked_again(environments: Environments, made: Environment) -> None:
    await environments.stop(made.id)
    await start(environments, made.preset, Path(made.workspace))


async def made_anew(environments: Environments, made: Environment) -> None:
    await start(environments, made.preset, Path(made.workspace), recreate=True)


Again = Callable[[Environments, Environment], Awaitable[None]]


@pytest.mark.parametrize("again", [restarted, stopped_and_started, clicked_again, made_anew])
async def test_a_mounted_folder_that_became_a_link_is_refused(
    environments: Environments, mounting: str, data: Path, secret: Path, again: Again
) -> None:
    workspace = data.parent
    made, _ = await start(environments, mounting, workspace)
    assert await inside(environments, made.id, code(SWAP, data, secret)) == str(secret)
    with pytest.raises(MountForbidden, match=str(secret)):
        await again(environments, made)
    # Put back as it was, it goes on.
    os.unlink(data)
    os.rename(f"{data}.old", data)
    running, _ = await start(environments, mounting, workspace)
    listing = "import json, os; print(json.dumps(os.listdir('/data')))"
    assert await inside(environments, running.id, listing) == ["numbers"]


@pytest.mark.parametrize("again", [restarted, stopped_and_started])
async def test_a_project_that_became_a_link_is_refused(
    environments: Environments, workspace: Path, secret: Path, again: Again
) -> None:
    """The project lies in another one's folder, and code in that one's environment swaps it."""
    inner = workspace / "inner"
    inner.mkdir()
    (inner / ".git").touch()
    outer, _ = await start(environments, "host", workspace)
    made, _ = await start(environments, "host", inner)
    await inside(environments, outer.id, code(SWAP, inner, secret))
    with pytest.raises(WorkspaceForbidden, match=str(secret)):
        await again(environments, made)


@pytest.mark.parametrize("target", ["/", "/home"])
async def test_a_project_that_became_a_link_to_what_may_be_none_is_refused(
    environments: Environments, workspace: Path, target: str
) -> None:
    inner = workspace / "inner"
    inner.mkdir()
    (inner / ".git").touch()
    outer, _ = await start(environments, "host", workspace)
    made, _ = await start(environments, "host", inner)
    await inside(environments, outer.id, code(SWAP, inner, Path(target)))
    await environments.stop(made.id)
    with pytest.raises(WorkspaceForbidden):
        await (await environments.resume(made.id))[1].wait()


async def test_a_requests_mount_stays_where_workspaces_may_be(
    settings: Settings, workspace: Path, data: Path, secret: Path, tmp_path: Path
) -> None:
    async with opened(settings(allowed_workspaces=[str(workspace)])) as environments:
        mounts = (Mount(str(data), "/data"),)
        made, _ = await start(environments, "host", workspace, mounts=mounts)
        await inside(environments, made.id, code(SWAP, data, secret))
        with pytest.raises(MountForbidden):
            await restarted(environments, made)
        assert (await environments.get(made.id)).state is State.RUNNING  # refused before it was stopped
        await environments.stop(made.id)
        # Stricter settings hold for what was made before them.
        async with opened(settings(allowed_workspaces=[str(tmp_path / "elsewhere")])) as stricter:
            with pytest.raises(WorkspaceForbidden):
                await (await stricter.resume(made.id))[1].wait()


async def test_a_missing_folder_is_not_made(
    environments: Environments, mounting: str, workspace: Path, data: Path
) -> None:
    made, _ = await start(environments, mounting, workspace)
    await environments.stop(made.id)
    shutil.rmtree(data)
    with pytest.raises(MlenvError, match="not there"):
        await (await environments.resume(made.id))[1].wait()
    assert "data" not in os.listdir(workspace)


async def test_a_folder_that_is_swapped_during_a_start_is_in_no_environment(
    environments: Environments, mounting: str, workspace: Path, data: Path, secret: Path
) -> None:
    """A check alone loses this race now and then; whoever starts then sees what the container really has."""
    other = workspace.parent / "other"
    os.mkdir(other)
    (other / ".git").touch()
    made, _ = await start(environments, mounting, other)
    outer, _ = await start(environments, "host", workspace)
    await inside(environments, outer.id, code(SWAPPING, data, secret))
    seen, refused = [], 0
    for _ in range(12):
        await environments.stop(made.id)
        try:
            await (await environments.resume(made.id))[1].wait()
        except MlenvError:
            refused += 1
            assert (await environments.get(made.id)).state is State.STOPPED
        else:
            seen += await inside(environments, made.id, "import json, os; print(json.dumps(os.listdir('/data')))")
    assert "canary" not in seen
    assert refused + len(seen) >= 12


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("back", [True, False])
async def test_a_swap_between_check_and_mount_stops_the_environment(
    settings: Settings, data: Path, secret: Path, shared: bool, back: bool
) -> None:
    """By inodes where the engine shares this machine's files, else by a file of a random name."""
    mounts = (Mount(str(data), "/data"),)
    async with opened(settings(shared_filesystem=shared)) as environments:
        made, _ = await start(environments, "host", data.parent, mounts=mounts)
        await environments.stop(made.id)
        original = environments.engine.start

        async def swapped(container: str) -> ContainerInfo:
            os.rename(data, f"{data}.old")
            os.symlink(secret, data)
            try:
                return await original(container)
            finally:
                if back:
                    os.unlink(data)
                    os.rename(f"{data}.old", data)

        environments.engine.start = swapped  # type: ignore[method-assign]
        with pytest.raises((MountForbidden, EngineElsewhere)):
            await (await environments.resume(made.id))[1].wait()
        assert (await environments.get(made.id)).state is State.STOPPED
        assert os.listdir(secret) == ["canary"]
        assert os.listdir(data if back else f"{data}.old") == ["numbers"]


async def test_a_container_of_that_name_that_is_somebody_elses_is_left_alone(
    environments: Environments, settings: Settings, workspace: Path, owner: str
) -> None:
    made, _ = await start(environments, "host", workspace)
    async with opened(settings(owner=f"{owner}-2")) as others:
        theirs, _ = await start(others, "host", workspace)
        by_hand("rename", theirs.id, "mlenv-kept-aside")
        try:
            by_hand("rename", made.id, f"mlenv-{theirs.id}")
            with pytest.raises(MlenvError, match="left alone"):
                await start(others, "host", workspace, recreate=True)
        finally:
            for name, each in ((f"mlenv-{theirs.id}", made), ("mlenv-kept-aside", theirs)):
                await others.engine.remove(name)
                shutil.rmtree(each.run_dir)


PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from traitlets.config import Config
from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.planning.model import StartRequest

LISTING = "import json, os; print(json.dumps(os.listdir('/data')))"
folder, owner, swap = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

async def inside(environments, id, code):
    output = b""
    agent = await environments.agent(id)
    async with await agent.exec(["python3", "-c", code]) as session:
        async for _, piece in session:
            output += piece
    return json.loads(output)

async def main():
    config = MlenvConfig(config=Config({"MlenvConfig": {"owner": owner, "run_root": str(folder / "run")}}))
    environments = Environments(config.engine(), config.settings(), Jobs())
    request = StartRequest("host", str(folder / "work"), mounts=(Mount(str(folder / "work" / "data"), "/data"),))
    result = {}
    try:
        made = await (await environments.start(request))[1].wait()
        await inside(environments, made.id, swap)
        for way in ("restart", "stop", "resume", "start", "recreate"):
            try:
                if way == "stop":
                    await environments.stop(made.id)
                    continue
                if way in ("start", "recreate"):
                    wish = StartRequest(**{**vars(request), "recreate": way == "recreate"})
                    job = (await environments.start(wish))[1]
                else:
                    job = (await getattr(environments, way)(made.id))[1]
                await job.wait()
                result[way] = await inside(environments, made.id, LISTING)
            except MlenvError as error:
                result[way] = error.code
    finally:
        for each in await environments.list():
            await environments.remove(each.id)
        await environments.close()
    print(json.dumps([os.getuid(), result]))

asyncio.run(main())
"""


@pytest.fixture
def persons_folder(owner: str) -> Iterator[Path]:
    """A home of an ordinary person, with a project and a key."""
    folder = Path(tempfile.mkdtemp(prefix=f"mlenv-{owner}-", dir="/tmp"))
    try:
        for name in ("run", "work/data", "secret"):
            (folder / name).mkdir(parents=True, mode=0o700)
        (folder / "work" / ".git").touch()
        (folder / "secret" / "canary").touch()
        for path in [folder, *folder.rglob("*")] if os.getuid() == 0 else ():
            os.chown(path, PERSON, PERSON)
        yield folder
    finally:
        shutil.rmtree(folder)


async def test_an_ordinary_person_is_as_safe(persons_folder: Path, owner: str) -> None:
    swap = code(SWAP, persons_folder / "work" / "data", persons_folder / "secret")
    uid = PERSON if os.getuid() == 0 else os.getuid()
    process = await asyncio.create_subprocess_exec(
        *(*as_person(uid), sys.executable, "-c", PROGRAM, str(persons_folder), owner, swap),
        env=os.environ | {"HOME": str(persons_folder), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        cwd="/",
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    who, result = json.loads(output)
    assert who == uid
    assert result == dict.fromkeys(("restart", "resume", "start", "recreate"), "mount_forbidden")


async def test_a_start_that_is_cancelled_leaves_nothing_running_that_nobody_looked_at(
    environments: Environments, workspace: Path
) -> None:
    made, _ = await start(environments, "host", workspace)
    await environments.stop(made.id)
    original = environments.engine.start

    async def started(container: str) -> ContainerInfo:
        """The engine has started it when the cancel arrives."""
        await original(container)
        job = environments.jobs.running(made.id)
        assert job is not None
        job.cancel()
        await asyncio.sleep(60)
        raise AssertionError("it was not cancelled")

    environments.engine.start = started  # type: ignore[method-assign]
    _, job = await environments.resume(made.id)
    with pytest.raises(JobCancelled):
        await job.wait()
    assert (await environments.get(made.id)).state is State.STOPPED


async def test_the_python_that_runs_jupyter_cannot_be_changed_from_inside(
    settings: Settings, named: Named, workspace: Path, base_image: str
) -> None:
    packages = workspace / ".venv" / "lib"
    packages.mkdir(parents=True)
    preset = named("plain", f'[image]\nreference = "{base_image}"\n')
    config = settings()
    given = replace(config.settings(), own_prefixes=(str(workspace / ".venv"),))
    environments = Environments(config.engine(), given, Jobs())
    try:
        environment, _ = await start(environments, preset, workspace)
        tries = [str(packages / "sitecustomize.py"), str(workspace / "notes.txt")]
        code = f"""
import json, os
def can(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return True
def move():
    try:
        os.rename({str(workspace / ".venv")!r}, {str(workspace / "old")!r})
    except OSError:
        return False
    return True
print(json.dumps([*map(can, {tries!r}), move()]))
"""
        assert await inside(environments, environment.id, code) == ["Read-only file system", True, False]
        assert not list(packages.iterdir())
    finally:
        for one in await environments.list():
            await environments.remove(one.id)
        await environments.close()
