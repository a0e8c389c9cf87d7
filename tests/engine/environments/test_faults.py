"""Environments that cannot start or do not do their part: each says why and what to do, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client.routes import connect
from jupyter_mlenv.engines.gpus import NONE
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import (
    ContainerExited,
    DiskFull,
    EndpointNotFound,
    EngineError,
    EnvironmentFailed,
    EnvironmentNotRunning,
    GpuUnavailable,
    MlenvError,
    PresetInvalid,
    PresetNotFound,
    ServiceExited,
    ServiceTimeout,
    WorkspaceForbidden,
    WorkspaceNotFound,
)
from jupyter_mlenv.planning.model import StartRequest
from tests.support.environments import BOX, Left, Named, Settings, by_hand, failure, opened, start, watching


@pytest.fixture
async def environments(settings: Settings, tmp_path: Path) -> AsyncIterator[Environments]:
    allowed = [str(tmp_path / "project")]
    async with opened(settings(allowed_workspaces=allowed)) as environments:
        yield environments
        assert [e.id for e in await environments.list() if e.state is State.PENDING] == []


async def test_a_python_that_the_image_does_not_have(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    preset = named("bare", f'[image]\nreference = "{base_image}"\npython = "python9.9"\n')
    error, _ = await failure(environments, preset, workspace)
    assert isinstance(error, ContainerExited)
    assert error.details["exit_code"] == 127
    assert "python9.9" in " ".join([error.message, error.hint])
    assert any("python9.9" in line for line in error.log)
    assert left() == []


async def test_a_container_that_runs_out_of_memory_at_once(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    # In place of the interpreter, one that asks for more than there is: a limit too tight for Python itself may thrash.
    greedy = workspace / "greedy"
    greedy.write_text("#!/usr/bin/python3\nprint(len(bytearray(1 << 30)))\n")
    greedy.chmod(0o755)
    image = f'[image]\nreference = "{base_image}"\npython = "{greedy}"\n'
    preset = named("tight", f'{image}[resources]\nmemory = "32m"\n')
    error, _ = await failure(environments, preset, workspace)
    assert isinstance(error, (ContainerExited, EngineError))
    assert "memory" in f"{error.message} {error.hint}"
    assert left() == []


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
async def test_a_gpu_that_is_not_there_names_the_preset_without(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    twin = named("plain", f'[image]\nreference = "{base_image}"\n')
    preset = named("gpu", f'gpu = true\ntwin = "{twin}"\n[image]\nreference = "{base_image}"\n')
    error, _ = await failure(environments, preset, workspace)
    assert isinstance(error, GpuUnavailable)
    assert f'"{twin}"' in error.hint
    assert left() == []
    # The same preset, asked to do without, starts.
    environment, _ = await start(environments, preset, workspace, gpus=NONE)
    assert environment.state is State.RUNNING


async def test_what_a_request_asks_for_and_the_machine_does_not_have(
    environments: Environments, named: Named, workspace: Path, left: Left
) -> None:
    preset = named("box", BOX)
    error, _ = await failure(environments, preset, workspace, cpus=5000.0)
    assert "CPUs" in error.message
    gone = Mount(str(workspace / "gone"), "/data")
    error, _ = await failure(environments, preset, workspace, mounts=(gone,))
    assert gone.source in error.message
    assert "mount" in error.hint
    networked = named("net", 'extends = "host"\nnetwork = "no-such-network"\n')
    error, _ = await failure(environments, networked, workspace)
    assert "no-such-network" in error.message
    assert left() == []


async def test_presets_that_are_not_there_or_not_right(
    environments: Environments, named: Named, workspace: Path, left: Left
) -> None:
    preset = named("broken", '[image]\nhost = true\n[resources]\nmemory = "much"\n')
    with pytest.raises(PresetInvalid) as invalid:
        await environments.start(StartRequest(preset, str(workspace)))
    assert invalid.value.details["file"].endswith(f"/presets/{preset}.toml")
    assert (invalid.value.details["line"], invalid.value.details["field"]) == (5, "resources.memory")
    assert f"{preset}.toml line 5" in invalid.value.message
    assert "8g" in f"{invalid.value.message} {invalid.value.hint}"
    with pytest.raises(PresetNotFound, match="hots") as unknown:
        await environments.start(StartRequest("hots", str(workspace)))
    assert '"host"' in unknown.value.hint
    assert left() == []


async def test_folders_that_may_not_be_a_workspace(environments: Environments, workspace: Path, left: Left) -> None:
    outside = workspace.parent / "outside"
    outside.mkdir()
    (workspace / "link").symlink_to(outside)
    for path in (workspace / "link", workspace / ".." / "outside", outside, Path("/etc")):
        with pytest.raises(WorkspaceForbidden):
            await environments.start(StartRequest("host", str(path)))
    with pytest.raises(WorkspaceNotFound):
        await environments.start(StartRequest("host", str(workspace / "nowhere")))
    assert left() == []


async def test_services_that_exit_or_never_listen(environments: Environments, named: Named, workspace: Path) -> None:
    environment, _ = await start(environments, named("box", BOX), workspace)
    id = environment.id
    with pytest.raises(ServiceExited) as exited:
        await environments.service(id, "exits", "/")
    assert exited.value.details["exit_code"] == 3
    assert exited.value.hint == "Mend it."
    assert "the reason" in exited.value.log
    with pytest.raises(ServiceTimeout) as silent:
        await environments.service(id, "silent", "/")
    assert "still thinking" in silent.value.log
    with pytest.raises(EndpointNotFound, match="nothing-like-it") as unknown:
        await environments.service(id, "nothing-like-it", "/")
    assert "echo" in unknown.value.hint
    with pytest.raises(ConnectionRefusedError):
        await connect(await environments.service(id, "5999", "/"))
    # None of that hurt the others.
    (await connect(await environments.service(id, "echo", "/"))).close()


async def test_a_start_with_an_endpoint_that_fails_leaves_the_environment_running(
    environments: Environments, named: Named, workspace: Path
) -> None:
    preset = named("box", BOX)
    error, _ = await failure(environments, preset, workspace, endpoint="exits")
    assert isinstance(error, ServiceExited)
    assert [e.state for e in await environments.list()] == [State.RUNNING]


async def test_a_container_killed_or_removed_by_hand(
    environments: Environments, named: Named, workspace: Path, left: Left
) -> None:
    preset = named("box", BOX)
    environment, _ = await start(environments, preset, workspace)
    id = environment.id
    async with watching(environments) as watch:
        (await connect(await environments.service(id, "echo", "/"))).close()
        by_hand("kill", id)
        told = await watch.state(id, "failed")
        assert told["environment"]["exit_code"] == 137
        assert environments.cached_service(id, "echo", "/") is None
        with pytest.raises(EnvironmentNotRunning):
            await environments.service(id, "echo", "/")
        assert (await start(environments, preset, workspace))[0].container == environment.container
        (await connect(await environments.service(id, "echo", "/"))).close()

        by_hand("remove_container", id, force=True)
        await watch.until(lambda change: change == {"type": "removed", "id": id}, "it was removed")
        with pytest.raises(MlenvError, match="no environment"):
            await environments.service(id, "echo", "/")
        # Its run directory is of no use to the next one, which must not stumble over it either.
        again, _ = await start(environments, preset, workspace)
        assert again.container != environment.container
        (await connect(await environments.service(id, "echo", "/"))).close()
    await environments.remove(id)
    assert left() == []


async def test_a_run_directory_removed_under_it(environments: Environments, named: Named, workspace: Path) -> None:
    """As a cleaner of /tmp does: the container runs, and cannot be reached any more until it is restarted."""
    preset = named("box", BOX)
    environment, _ = await start(environments, preset, workspace)
    shutil.rmtree(environment.run_dir)
    with pytest.raises(MlenvError) as caught:
        await environments.service(environment.id, "echo", "/")
    assert "restart" in caught.value.hint.lower()
    restarted = await (await environments.restart(environment.id))[1].wait()
    (await connect(await environments.service(restarted.id, "echo", "/"))).close()


async def test_a_project_that_was_deleted_while_its_environment_was_stopped(
    environments: Environments, named: Named, workspace: Path
) -> None:
    environment, _ = await start(environments, named("box", BOX), workspace)
    await environments.stop(environment.id)
    shutil.rmtree(workspace)
    _, job = await environments.resume(environment.id)
    with pytest.raises(WorkspaceNotFound, match="does not exist") as caught:
        await job.wait()
    assert str(workspace) in caught.value.message
    assert [e.state for e in await environments.list()] == [State.STOPPED]


async def test_an_agent_that_is_killed_takes_its_container_along(
    environments: Environments, named: Named, workspace: Path
) -> None:
    preset = named("box", BOX)
    environment, _ = await start(environments, preset, workspace)
    async with watching(environments) as watch:
        agent = await environments.agent(environment.id)
        with pytest.raises(EnvironmentFailed):
            async with await agent.exec(["kill", "-KILL", str((await agent.health())["pid"])]) as session:
                await session.wait()
        await watch.state(environment.id, "failed")
    assert (await start(environments, preset, workspace))[0].state is State.RUNNING


async def test_a_disk_that_is_full(
    environments: Environments, named: Named, base_image: str, workspace: Path, left: Left
) -> None:
    """A build step meets a real ENOSPC: /dev/shm of a build holds 64 MB."""
    (Path(environments.settings.preset_paths[0]) / "Full").write_text(
        f"FROM {base_image}\nRUN dd if=/dev/zero of=/dev/shm/full bs=1M count=2000\n"
    )
    error, _ = await failure(environments, named("full", '[image]\ndockerfile = "Full"\n'), workspace)
    assert isinstance(error, DiskFull)
    assert any("No space left on device" in line for line in error.log)
    assert "docker builder prune" in error.hint
    assert left() == []
