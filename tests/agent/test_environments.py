"""The use cases against an engine in memory whose containers really run the agent."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client import routes
from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import (
    ContainerExited,
    DiskFull,
    EndpointNotFound,
    EngineError,
    EngineUnavailable,
    EnvironmentBusy,
    EnvironmentFailed,
    EnvironmentNotFound,
    EnvironmentNotRunning,
    GpuUnavailable,
    JobCancelled,
    PresetNotFound,
    ServiceExited,
    WorkspaceForbidden,
)
from jupyter_mlenv.planning.model import StartRequest, container_name
from jupyter_mlenv.settings import Settings
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

PRESET = """
name = "small"
title = "Small"
[image]
reference = "registry.test/small:1"
[endpoints.web]
title = "Web"
command = ["{python}", "-c", '''
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode())
    def address_string(self): return "-"
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
''', "{socket}"]
[endpoints.broken]
title = "Broken"
command = ["{python}", "-c", "raise SystemExit('no such module: tensorboard')", "{port}"]
hint = "Install it."
"""


@pytest.fixture
def settings(person: Settings, presets: Path) -> Settings:
    (presets / "small.toml").write_text(PRESET)
    gpu = PRESET.replace('name = "small"', 'name = "small-gpu"\ngpu = true\ntwin = "small"')
    (presets / "small-gpu.toml").write_text(gpu)
    return person


@asynccontextmanager
async def opened(engine: FakeEngine, settings: Settings):
    environments = Environments(engine, settings, Jobs())
    try:
        yield environments
        for environment in await environments.list():
            await environments.remove(environment.id)
    finally:
        await environments.close()


@pytest.fixture
async def engine():
    engine = FakeEngine(registry={"registry.test/small:1": [1000, 3000]})
    yield engine
    await engine.close()


@pytest.fixture
async def environments(engine: FakeEngine, settings: Settings):
    async with opened(engine, settings) as environments:
        yield environments


@pytest.fixture
def request_small(workspace: Path) -> StartRequest:
    return StartRequest("small", str(workspace))


async def test_start_pulls_creates_and_waits_for_the_agent(environments, engine, request_small, workspace):
    environment, job = await environments.start(request_small)
    assert environment.state is State.PENDING
    assert [e.id for e in await environments.list()] == [environment.id]

    done = await job.wait()

    assert done.state is State.RUNNING
    assert done.workspace == str(workspace)
    assert (await (await environments.agent(done.id)).health())["version"]
    assert engine.calls["pull"] == 1


async def test_a_second_start_reuses_everything(environments, engine, request_small):
    first = await (await environments.start(request_small))[1].wait()
    second = await (await environments.start(request_small))[1].wait()
    assert first.id == second.id
    assert engine.calls["create"] == 1
    assert engine.calls["pull"] == 1


async def test_simultaneous_starts_in_one_process_share_a_job(environments, engine, request_small):
    started = await asyncio.gather(*(environments.start(request_small) for _ in range(5)))
    assert len({job.id for _, job in started}) == 1
    await started[0][1].wait()
    assert engine.calls["create"] == 1


async def test_simultaneous_starts_in_two_processes_end_in_one_environment(
    environments, engine, settings, request_small
):
    other = Environments(engine, settings, Jobs())
    engine.delays["put_files"] = 0.1
    jobs = [(await each.start(request_small))[1] for each in (environments, other)]
    first, second = await asyncio.gather(*(job.wait() for job in jobs))
    assert first.container == second.container
    assert len(engine.containers) == 1


async def test_a_start_that_died_half_way_is_cleaned_up(environments, engine, request_small):
    """The process that created the container was killed before it started it."""
    environment = await (await environments.start(request_small))[1].wait()
    await environments.stop(environment.id)
    leftover = next(iter(engine.containers.values()))
    leftover.info = replace(leftover.info, status="created", created=datetime(2020, 1, 1, tzinfo=timezone.utc))
    again = await (await environments.start(request_small))[1].wait()
    assert again.state is State.RUNNING
    assert again.container != environment.container
    assert len(engine.containers) == 1


@pytest.mark.parametrize("step", ["pull", "create", "put_files", "start"])
async def test_a_start_cancelled_at_any_step_leaves_nothing(environments, engine, settings, request_small, step):
    engine.delays[step] = 30
    environment, job = await environments.start(request_small)
    await eventually(lambda: engine.calls[step], f"{step} was called")
    job.cancel()
    with pytest.raises(JobCancelled):
        await job.wait()
    engine.delays.clear()
    assert not engine.containers
    assert not os.listdir(settings.run_root)
    assert await environments.list() == []
    with pytest.raises(EnvironmentNotFound):
        await environments.get(environment.id)


@pytest.mark.parametrize("step", ["pull", "create", "put_files", "start"])
async def test_a_start_that_fails_at_any_step_leaves_nothing(environments, engine, settings, request_small, step):
    engine.fail(step, DiskFull("No space left on device."))
    _, job = await environments.start(request_small)
    with pytest.raises(DiskFull):
        await job.wait()
    assert not engine.containers
    assert not os.listdir(settings.run_root)
    assert job.to_json()["error"]["code"] == "disk_full"


async def test_a_gpu_preset_without_a_gpu_names_the_cpu_twin(environments, engine, workspace, settings):
    _, job = await environments.start(StartRequest("small-gpu", str(workspace)))
    with pytest.raises(GpuUnavailable) as caught:
        await job.wait()
    assert '"small"' in caught.value.hint
    assert not engine.containers
    assert not os.listdir(settings.run_root)


async def test_an_engine_without_a_gpu_says_so_before_anything_is_pulled(environments, engine, workspace):
    engine.store.clear()
    _, job = await environments.start(StartRequest("small-gpu", str(workspace)))
    with pytest.raises(GpuUnavailable):
        await job.wait()
    assert engine.calls["pull"] == 0
    assert not engine.containers


async def test_an_engine_with_a_gpu_gets_the_image(settings, workspace):
    engine = FakeEngine(registry={"registry.test/small:1": [1]}, gpus=("0",))
    async with opened(engine, settings) as environments:
        _, job = await environments.start(StartRequest("small-gpu", str(workspace)))
        assert (await job.wait()).state is State.RUNNING
        assert engine.calls["pull"] == 1


async def test_a_container_that_exits_at_once_shows_its_last_lines(environments, engine, request_small, tmp_path):
    bad = (tmp_path / "presets" / "small.toml").read_text().replace("[image]", '[image]\npython = "/bin/false"', 1)
    (tmp_path / "presets" / "small.toml").write_text(bad)
    start = engine.start

    async def dies(container: str):
        info = await start(container)
        await engine.kill(container)
        with engine.containers[info.id].output.open("a") as output:
            output.write("cannot import name numpy\n")
        return info

    engine.start = dies
    _, job = await environments.start(request_small)
    with pytest.raises(ContainerExited) as caught:
        await job.wait()
    assert "cannot import name numpy" in caught.value.log
    assert caught.value.details["exit_code"] == 137
    assert not engine.containers


async def test_stop_and_resume_keep_the_container(environments, engine, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    stopped = await environments.stop(environment.id)
    assert stopped.state is State.STOPPED
    with pytest.raises(EnvironmentNotRunning):
        await environments.agent(environment.id)
    resumed = await (await environments.resume(environment.id))[1].wait()
    assert resumed.state is State.RUNNING
    assert resumed.container == environment.container


async def test_restart_is_a_new_agent_in_the_same_container(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    before = (await (await environments.agent(environment.id)).health())["pid"]
    restarted = await (await environments.restart(environment.id))[1].wait()
    assert restarted.container == environment.container
    assert (await (await environments.agent(environment.id)).health())["pid"] != before


async def test_a_restart_gives_as_much_time_to_end_as_a_stop_does(environments, engine, request_small, monkeypatch):
    environment = await (await environments.start(request_small))[1].wait()
    given, stop, box = [], engine.stop, next(iter(engine.containers.values()))
    plan = json.loads(box.info.labels[f"{LABEL}.plan"])
    plan["container"]["stop_timeout"] = 42
    box.info = replace(box.info, labels={**box.info.labels, f"{LABEL}.plan": json.dumps(plan)})

    async def noted(container: str, timeout: int) -> None:
        given.append(timeout)
        await stop(container, timeout)

    monkeypatch.setattr(engine, "stop", noted)
    await (await environments.restart(environment.id))[1].wait()
    await environments.stop(environment.id)
    assert given == [42, 42]


async def test_a_restart_during_a_start_is_refused_and_the_start_goes_on(environments, engine, request_small):
    engine.delays["layer"] = 0.1
    environment, job = await environments.start(request_small)
    for other in (environments.restart(environment.id), environments.start(replace(request_small, recreate=True))):
        with pytest.raises(EnvironmentBusy, match="is being started") as caught:
            await other
        assert caught.value.details == {"environment": environment.id, "job": job.id}
    assert (await environments.resume(environment.id))[1] is job
    assert (await job.wait()).state is State.RUNNING


async def test_a_start_with_other_options_that_joins_another_one_says_so(environments, engine, request_small):
    engine.delays["layer"] = 0.1
    _, job = await environments.start(request_small)
    same, joined = await environments.start(request_small)
    other, too = await environments.start(replace(request_small, memory=1 << 30))
    assert job is joined is too
    assert (same.warnings, "--recreate" in other.warnings[-1]) == ((), True)
    await job.wait()


async def test_recreate_makes_a_new_container(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    anew = await (await environments.start(replace(request_small, recreate=True)))[1].wait()
    assert anew.id == environment.id
    assert anew.container != environment.container


async def test_a_changed_preset_marks_the_environment_outdated(environments, request_small, tmp_path):
    await (await environments.start(request_small))[1].wait()
    file = tmp_path / "presets" / "small.toml"
    file.write_text(file.read_text() + '\n[env]\nNEW = "1"\n')
    (listed,) = await environments.list()
    assert listed.outdated
    assert listed == await environments.get(listed.id)
    assert (await (await environments.start(request_small))[1].wait()).outdated
    assert (await (await environments.restart(listed.id))[1].wait()).outdated
    file.write_text(PRESET)
    assert not (await environments.get(listed.id)).outdated, "it is again as it was"
    file.unlink()
    assert not (await environments.get(listed.id)).outdated, "nothing can be said about a preset that is gone"


async def test_a_changed_file_of_an_image_marks_the_environment_outdated(environments, tmp_path):
    (tmp_path / "project").mkdir(exist_ok=True)
    (tmp_path / "presets" / "built.toml").write_text('[image]\ndockerfile = "D"\n[endpoints.web]\ncommand = ["w"]\n')
    dockerfile = tmp_path / "presets" / "D"
    dockerfile.write_text("FROM registry.test/small:1\n")
    _, job = await environments.start(StartRequest("built", str(tmp_path / "project")))
    environment = await job.wait()
    assert not (await environments.get(environment.id)).outdated
    dockerfile.write_text("FROM registry.test/small:1\nRUN true\n")
    assert [one.outdated for one in await environments.list()] == [True]


async def test_how_a_tile_looks_makes_no_environment_outdated(environments, request_small, tmp_path):
    environment = await (await environments.start(request_small))[1].wait()
    file = tmp_path / "presets" / "small.toml"
    file.write_text(file.read_text().replace('"Small"', '"Smaller"').replace("[image]", 'icon = "r"\n[image]', 1))
    assert not (await environments.get(environment.id)).outdated


async def test_a_start_with_other_options_says_that_it_found_another_one(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    other = await (await environments.start(replace(request_small, memory=1 << 30)))[1].wait()
    assert (other.container, other.outdated) == (environment.container, False)
    assert "--recreate" in other.warnings[-1]
    assert (await environments.get(environment.id)).warnings == environment.warnings


async def test_what_is_listed_is_what_get_says(environments, engine, request_small, tmp_path):
    """Of one that runs, one that was stopped, and one that crashed."""
    ids = []
    for name in ("runs", "stopped", "crashed"):
        environment = await (await environments.start(replace(request_small, name=name)))[1].wait()
        ids.append(environment.id)
    await environments.stop(ids[1])
    await engine.kill(container_name(ids[2]))
    listed = {environment.id: environment for environment in await environments.list()}
    assert [listed[id] for id in ids] == [await environments.get(id) for id in ids]
    assert [listed[id].state for id in ids] == [State.RUNNING, State.STOPPED, State.FAILED]
    assert listed[ids[0]].started
    assert listed[ids[2]].exit_code == 137
    snapshot = await anext(environments.subscribe("/"))
    assert snapshot["environments"] == [listed[id].to_json("/") for id in sorted(ids)]


async def test_one_that_has_crashed_can_be_started_again(environments, engine, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    await engine.kill(container_name(environment.id))
    assert (await environments.get(environment.id)).state is State.FAILED
    again = await (await environments.resume(environment.id))[1].wait()
    assert (again.state, again.container) == (State.RUNNING, environment.container)


async def test_one_odd_container_hides_no_other(environments, engine, request_small):
    first = await (await environments.start(replace(request_small, name="first")))[1].wait()
    second = await (await environments.start(replace(request_small, name="second")))[1].wait()
    inspect = engine.inspect

    async def odd(container: str):
        if container == first.container:
            raise EngineError("The engine has lost its files.")
        if container == second.container:
            await engine.remove(container)  # meanwhile
        return await inspect(container)

    engine.inspect = odd
    assert [environment.id for environment in await environments.list()] == [first.id]
    engine.inspect = inspect
    assert len(await environments.sweep()) == 1


async def test_remove_leaves_neither_container_nor_run_directory(environments, engine, settings, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    await environments.remove(environment.id)
    assert not engine.containers
    assert not os.listdir(settings.run_root)
    with pytest.raises(EnvironmentNotFound):
        await environments.remove(environment.id)


def as_before(engine, id):
    """Make the container one of an earlier version, which had its token in the directory that was mounted."""
    [box] = [box for box in engine.containers.values() if box.spec.name == container_name(id)]
    plan = json.loads(box.info.labels["jupyter-mlenv.plan"])
    command = plan["container"]["command"]
    plan["container"]["command"] = command[: command.index("--token")]
    labels = {**box.info.labels, "jupyter-mlenv.plan": json.dumps(plan)}
    box.info = replace(box.info, labels=labels)


async def test_what_an_earlier_version_made_is_not_trusted_and_can_be_made_anew(environments, engine, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    as_before(engine, environment.id)
    [listed] = await environments.list()
    assert (listed.state, listed.run_dir) == (State.RUNNING, "")
    attempts = [
        (await environments.start(request_small))[1].wait(),
        (await environments.restart(environment.id))[1].wait(),
        environments.service(environment.id, "web", "/"),
        environments.agent(environment.id),
    ]
    for attempt in attempts:
        with pytest.raises(EnvironmentFailed, match="older version") as caught:
            await attempt
        assert "--recreate" in caught.value.hint
        assert "installed inside go with it" in caught.value.hint
    assert (await environments.get(environment.id)).state is State.RUNNING
    assert (await environments.stop(environment.id)).state is State.STOPPED
    again = await (await environments.start(replace(request_small, recreate=True)))[1].wait()
    assert again.run_dir
    assert await environments.agent(environment.id)


async def test_a_token_that_was_lost_is_made_anew_at_the_next_start(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    await environments.stop(environment.id)
    os.unlink(f"{environment.run_dir}/token")
    await (await environments.start(request_small))[1].wait()
    assert (await (await environments.agent(environment.id)).health())["version"]


async def test_the_run_directory_of_a_container_that_is_gone_is_swept(environments, engine, settings, request_small):
    """As after `docker rm -f`; one that is used, also by an engine that is not asked, stays."""
    environment = await (await environments.start(request_small))[1].wait()
    foreign = Path(settings.run_root, "0123456789")
    run_directory.prepare(settings.run_root, str(foreign))
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), f"{foreign}/in/agent.sock")
    try:
        assert await environments.sweep() == []
        await environments.stop(environment.id)
        assert await environments.sweep() == []
        engine.containers.clear()
        assert await environments.sweep() == [environment.run_dir]
        assert os.listdir(settings.run_root) == ["0123456789"]
    finally:
        server.close()
    written = (foreign / "token").read_text()
    (foreign / "token").write_text(written.replace(run_directory.this_machine(), "another machine"))
    assert await environments.sweep() == [], "with the same home directory, and an engine that is not asked here"
    (foreign / "token").write_text(written)
    assert await environments.sweep() == [str(foreign)]
    assert os.listdir(settings.run_root) == []
    calls = engine.calls["list"]
    await environments.sweep()
    assert engine.calls["list"] == calls, "with nothing to sweep the engine is not asked"


async def test_links_to_sockets_of_kernels_that_have_ended_are_swept(environments, request_small):
    """As of a server that was killed, whose kernels ended later by themselves."""
    run_dir = (await (await environments.start(request_small))[1].wait()).run_dir
    for name in ("k-1", "k-2"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{run_dir}/in/{name}")
            run_directory.link_socket(run_dir, name)
    os.unlink(f"{run_dir}/in/k-1")
    await environments.sweep()
    assert sorted(os.listdir(run_dir)) == ["in", "k-2", "token"]


async def test_remove_during_a_start_cancels_it(environments, engine, request_small):
    engine.delays["pull"] = 30
    environment, job = await environments.start(request_small)
    await environments.remove(environment.id)
    assert job.state == "cancelled"
    assert await environments.list() == []


async def test_an_environment_of_another_owner_is_not_there(environments, engine, settings, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    stranger = Environments(engine, replace(settings, owner="stranger"), Jobs())
    assert await stranger.list() == []
    for verb in (stranger.get, stranger.stop, stranger.remove, stranger.agent, stranger.restart):
        with pytest.raises(EnvironmentNotFound):
            await verb(environment.id)
    with pytest.raises(EnvironmentNotFound):
        await stranger.service(environment.id, "web", "/")


async def test_an_unknown_preset_names_the_nearest(environments, workspace):
    with pytest.raises(PresetNotFound) as caught:
        await environments.start(StartRequest("smal", str(workspace)))
    assert "small" in str(caught.value) + caught.value.hint


async def test_a_forbidden_workspace_is_refused_before_anything_happens(environments, engine, tmp_path):
    (tmp_path / "link").symlink_to("/usr")
    with pytest.raises(WorkspaceForbidden):
        await environments.start(StartRequest("small", str(tmp_path / "link")))
    assert engine.calls["pull"] == engine.calls["create"] == 0


async def test_a_service_starts_on_the_first_request_under_its_base_url(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    base = "/user/alice%40b/"
    assert environments.cached_service(environment.id, "web", base) is None
    found = await asyncio.gather(*(environments.service(environment.id, "web", base) for _ in range(5)))
    assert len(set(found)) == 1
    assert environments.cached_service(environment.id, "web", base) == found[0]
    url = f"{base}mlenv/envs/{environment.id}/web/x"
    assert (await _get(found[0], url)).endswith(url.encode())
    assert len(await (await environments.agent(environment.id)).services.list()) == 1


async def test_a_service_that_exits_shows_its_log_and_the_presets_hint(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    with pytest.raises(ServiceExited) as caught:
        await environments.service(environment.id, "broken", "/")
    assert any("tensorboard" in line for line in caught.value.log)
    assert caught.value.hint == "Install it."
    assert "Broken" in str(caught.value)


async def test_an_endpoint_that_is_not_ours_is_refused(environments, request_small):
    environment = await (await environments.start(request_small))[1].wait()
    for name in ("nope", "0", "65536", "99999999999", "-1", "../web"):
        with pytest.raises(EndpointNotFound):
            await environments.service(environment.id, name, "/")


async def test_a_start_with_an_endpoint_ends_when_it_answers(environments, request_small):
    _, job = await environments.start(replace(request_small, endpoint="web"), "/b/")
    environment = await job.wait()
    assert environments.cached_service(environment.id, "web", "/b/") is not None


async def test_a_container_that_dies_is_seen_and_its_routes_forgotten(environments, engine, request_small):
    changes = environments.subscribe("/")
    snapshot = await anext(changes)
    assert snapshot == {"type": "snapshot", "environments": [], "jobs": []}
    environment = await (await environments.start(request_small))[1].wait()
    await environments.service(environment.id, "web", "/")
    await engine.kill(container_name(environment.id))
    change = await _until(changes, lambda c: c.get("environment", {}).get("state") == "failed")
    assert change["environment"]["exit_code"] == 137
    assert environments.cached_service(environment.id, "web", "/") is None
    await environments.remove(environment.id)
    change = await _until(changes, lambda c: c["type"] == "removed")
    assert change["id"] == environment.id
    await changes.aclose()


async def test_a_watcher_learns_that_the_engine_went_and_came_back(environments, engine):
    changes = environments.subscribe("/")
    await anext(changes)
    engine.down()
    assert await asyncio.wait_for(anext(changes), 10) == {"type": "engine", "state": "disconnected"}
    engine.up()
    assert await asyncio.wait_for(anext(changes), 10) == {"type": "engine", "state": "connected"}
    assert (await asyncio.wait_for(anext(changes), 10))["type"] == "snapshot"
    await changes.aclose()


async def test_a_slow_watcher_gets_the_newest_of_each_and_no_more(environments, engine, request_small):
    engine.delays["layer"] = 0.001
    changes = environments.subscribe("/")
    await anext(changes)
    _, job = await environments.start(request_small)
    for number in range(1000):
        job.log(str(number))
    environment = await job.wait()
    await asyncio.sleep(0.05)
    unread = []
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(_collect(changes, unread), 0.5)
    assert len([c for c in unread if c["type"] == "job"]) == 1
    assert len([c for c in unread if c["type"] == "environment"]) == 1
    assert unread[-1]["type"] in ("job", "environment")
    assert environment.state is State.RUNNING


async def test_with_no_engine_everything_says_so(engine, settings, request_small):
    environments = Environments(engine, settings, Jobs())
    engine.down()
    presets, broken = await environments.presets()
    assert "small" in [preset.name for preset in presets]
    assert not broken
    for work in (environments.list(), environments.get("small-0123456789"), environments.start(request_small)):
        with pytest.raises(EngineUnavailable):
            await work
    changes = environments.subscribe("/")
    assert (await anext(changes))["environments"] == []
    assert await anext(changes) == {"type": "engine", "state": "disconnected"}
    await changes.aclose()
    engine.up()
    await environments.close()


async def test_limits_the_engine_dropped_are_told(settings, workspace):
    engine = FakeEngine(registry={"registry.test/small:1": [1]}, drops=["memory"])
    async with opened(engine, settings) as environments:
        _, job = await environments.start(StartRequest("small", str(workspace), memory=1 << 30))
        environment = await job.wait()
        assert any("memory limit" in warning for warning in environment.warnings)
        assert any("memory limit" in line for line in job.since(0)[1])


async def test_an_engine_whose_sockets_the_host_cannot_reach(settings, request_small):
    engine = FakeEngine(registry={"registry.test/small:1": [1]}, shares_filesystem=False)
    async with opened(engine, settings) as environments:
        environment = await (await environments.start(request_small))[1].wait()
        assert environment.run_dir == ""
        route = await environments.service(environment.id, "web", "/")
        assert isinstance(route, routes.TunnelRoute)
        assert b"200 OK" in await _get(route, "/x")


async def _until(changes, wanted):
    async def first():
        async for change in changes:
            if wanted(change):
                return change

    return await asyncio.wait_for(first(), 10)


async def _collect(changes, into):
    async for change in changes:
        into.append(change)


async def _get(route: routes.Route, path: str) -> bytes:
    connection = await routes.connect(route)
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer
