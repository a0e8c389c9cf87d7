"""Containers on a real engine: what was asked for is applied, told back, and goes away again."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.gpus import EVERY
from jupyter_mlenv.engines.model import BuildRecipe, FileEntry, Mount, Resources
from jupyter_mlenv.errors import (
    ContainerNotFound,
    EngineError,
    GpuUnavailable,
    ImageNotFound,
    NameConflict,
)
from tests.support.docker import DOCKER_SOCKET, Relay, cleaning, make_spec
from tests.support.leftovers import connect
from tests.support.reporting import Recorder
from tests.support.waiting import eventually

SLEEP = ("sleep", "300")


@pytest.fixture
async def engine(owner: str) -> AsyncIterator[DockerEngine]:
    async with cleaning(DockerEngine(), owner) as engine:
        yield engine


def inside(container: str, *command: str) -> str:
    return subprocess.run(["docker", "exec", container, *command], check=True, capture_output=True, text=True).stdout


async def finished(engine: DockerEngine, container: str) -> None:
    async def over() -> bool:
        return (await engine.inspect(container)).status == "exited"

    await eventually(over, f"{container} has ended")


async def test_limits_are_applied_and_read_back(engine: DockerEngine, owner: str, base_image: str) -> None:
    asked = Resources(memory=200 << 20, cpus=1.5, pids=64, shm=32 << 20)
    made = await engine.create(make_spec(owner, base_image, "limits", SLEEP, resources=asked))
    assert made.status == "created"
    assert made.applied == asked
    await engine.start(made.id)
    assert inside(made.id, "df", "--output=size", "-B1", "/dev/shm").split()[1] == str(32 << 20)


async def test_swap_does_not_double_the_memory(engine: DockerEngine, owner: str, base_image: str) -> None:
    spec = make_spec(owner, base_image, "swap", SLEEP, resources=Resources(memory=64 << 20))
    made = await engine.create(spec)
    client = connect()
    try:
        host = client.inspect_container(made.id)["HostConfig"]
        accounts = client.info()["SwapLimit"]
    finally:
        client.close()
    assert host["MemorySwap"] == (64 << 20) or not accounts
    assert not made.warnings or not accounts


async def test_a_user_has_no_capability_and_cannot_gain_one(engine: DockerEngine, owner: str, base_image: str) -> None:
    spec = make_spec(
        owner, base_image, "user", SLEEP, user="1234:2345", hostname="box", workdir="/var", env={"A": "ü b"}
    )
    made = await engine.start((await engine.create(spec)).id)
    status = inside(made.id, "cat", "/proc/self/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert inside(made.id, "sh", "-c", "id -u; id -g; hostname; pwd; echo $A").splitlines() == [
        "1234",
        "2345",
        "box",
        "/var",
        "ü b",
    ]


async def test_root_may_change_owners_and_not_make_devices(engine: DockerEngine, owner: str, base_image: str) -> None:
    made = await engine.start((await engine.create(make_spec(owner, base_image, "root", SLEEP, user="0:0"))).id)
    script = "touch /f && chown 5:5 /f && stat -c %u /f; mknod /d c 1 3 2>/dev/null || echo refused"
    assert inside(made.id, "sh", "-c", script).split() == ["5", "refused"]


async def test_files_arrive_with_owner_and_mode(engine: DockerEngine, owner: str, base_image: str) -> None:
    made = await engine.create(make_spec(owner, base_image, "files", SLEEP))
    await engine.put_files(
        made.id,
        [
            FileEntry("/opt/mine", None, 0o750, 1000, 1001),
            FileEntry("/opt/mine/secret", b"\x00data", 0o400, 1000, 1001),
            FileEntry("/opt/far/away/file", b"x"),
        ],
    )
    assert await engine.read_file(made.id, "/opt/mine/secret") == b"\x00data"
    await engine.start(made.id)
    told = inside(made.id, "stat", "-c", "%a %u %g", "/opt/mine", "/opt/mine/secret", "/opt/far", "/opt/far/away/file")
    assert told.splitlines() == ["750 1000 1001", "400 1000 1001", "755 0 0", "644 0 0"]


async def test_reading_what_is_no_file_says_so(engine: DockerEngine, owner: str, base_image: str) -> None:
    made = await engine.create(make_spec(owner, base_image, "nofile", SLEEP))
    for path in ("/not/there", "/etc"):
        with pytest.raises(EngineError, match=path) as caught:
            await engine.read_file(made.id, path)
        assert caught.value.details["path"] == path
    with pytest.raises(ContainerNotFound):
        await engine.read_file("mlenv-no-such-container", "/etc/passwd")


async def test_mounts_can_be_read_only(engine: DockerEngine, owner: str, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mounts = (Mount(str(tmp_path / "a"), "/data/a"), Mount(str(tmp_path / "b"), "/data/b", read_only=True))
    made = await engine.create(make_spec(owner, base_image, "mounts", SLEEP, mounts=mounts))
    await engine.start(made.id)
    inside(made.id, "touch", "/data/a/made")
    assert (tmp_path / "a" / "made").exists()
    with pytest.raises(subprocess.CalledProcessError):
        inside(made.id, "touch", "/data/b/made")


async def test_a_port_is_published_on_the_loopback_only(engine: DockerEngine, owner: str, base_image: str) -> None:
    command = ("python3", "-m", "http.server", "8700")
    spec = replace(make_spec(owner, base_image, "port", command, publish=(8700,)), network="")
    made = await engine.create(spec)
    assert made.ports == {}
    port = (await engine.start(made.id)).ports[8700]

    def answers() -> bool:
        with socket.create_connection(("127.0.0.1", port), 2) as wire:
            wire.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return wire.recv(15).startswith(b"HTTP/1.0 200")

    await eventually(answers, "the server in the container answers")
    client = connect()
    try:
        published = client.inspect_container(made.id)["NetworkSettings"]["Ports"]["8700/tcp"]
    finally:
        client.close()
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


async def test_the_images_own_entrypoint_and_health_check_are_not_used(
    engine: DockerEngine, owner: str, base_image: str
) -> None:
    tag = f"mlenv-{owner}/entry:1"
    text = f'FROM {base_image}\nENTRYPOINT ["/bin/false"]\nHEALTHCHECK --interval=1s CMD exit 1\nSTOPSIGNAL SIGINT\n'
    await engine.build(BuildRecipe(tag=tag, dockerfile=text, labels={f"{LABEL}.owner": owner}), Recorder())
    made = await engine.create(make_spec(owner, tag, "entry", ("echo", "hello")))
    await engine.start(made.id)
    await finished(engine, made.id)
    assert [line async for line in engine.logs(made.id)] == ["hello"]


async def test_start_and_stop_can_be_repeated(engine: DockerEngine, owner: str, base_image: str) -> None:
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"
    made = await engine.create(make_spec(owner, base_image, "twice", ("sh", "-c", script)))
    first = await engine.start(made.id)
    assert (await engine.start(made.name)).started == first.started
    assert first.exit_code is None
    await eventually(lambda: _first_line(engine, made.id), "the trap is set")
    await engine.stop(made.id, 10)
    await engine.stop(made.id, 10)
    stopped = await engine.inspect(made.id)
    assert (stopped.status, stopped.exit_code, stopped.oom_killed) == ("exited", 7, False)
    await engine.start(made.id)
    assert (await engine.inspect(made.id)).exit_code is None
    await engine.remove(made.id)
    await engine.remove(made.id)
    with pytest.raises(ContainerNotFound):
        await engine.inspect(made.id)


async def _first_line(engine: DockerEngine, container: str) -> str:
    return "".join([line async for line in engine.logs(container, tail=1)])


async def test_a_name_is_given_once(engine: DockerEngine, owner: str, base_image: str) -> None:
    spec = make_spec(owner, base_image, "name", SLEEP)
    results = await asyncio.gather(*(engine.create(spec) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ContainerInfo"] + ["NameConflict"] * 3
    conflict = next(result for result in results if isinstance(result, NameConflict))
    assert conflict.details["container"] == spec.name
    await engine.remove(spec.name)
    await engine.create(spec)


async def test_what_the_engine_refuses_is_said_plainly(engine: DockerEngine, owner: str, base_image: str) -> None:
    spec = make_spec(owner, base_image, "refused", SLEEP)
    with pytest.raises(ImageNotFound, match="no-such-image:1"):
        await engine.create(replace(spec, image="no-such-image:1"))
    with pytest.raises(EngineError, match="/not/there cannot be mounted") as caught:
        await engine.create(replace(spec, mounts=(Mount("/not/there", "/data"),)))
    assert caught.value.details["source"] == "/not/there"
    with pytest.raises(EngineError, match=f"has {os.cpu_count()} CPUs"):
        await engine.create(replace(spec, resources=Resources(cpus=4096.0)))
    await engine.create(replace(spec, network="no-such-network"))
    with pytest.raises(EngineError, match="no network no-such-network") as caught:
        await engine.start(spec.name)
    assert not isinstance(caught.value, ContainerNotFound)


async def test_a_gpu_that_is_not_there_is_an_error_at_the_start(
    engine: DockerEngine, owner: str, base_image: str
) -> None:
    made = await engine.create(make_spec(owner, base_image, "gpu", SLEEP, resources=Resources(gpus=EVERY)))
    assert made.applied is not None
    assert made.applied.gpus == EVERY
    with pytest.raises(GpuUnavailable) as caught:
        await engine.start(made.id)
    assert "NVIDIA Container Toolkit" in caught.value.hint
    assert (await engine.inspect(made.id)).status == "created"
    await engine.remove(made.id)
    assert await engine.list({f"{LABEL}.id": "gpu", f"{LABEL}.owner": owner}) == []


async def test_out_of_memory_is_told(engine: DockerEngine, owner: str, base_image: str) -> None:
    command = ("python3", "-c", "x = bytearray(400 << 20)")
    made = await engine.create(make_spec(owner, base_image, "oom", command, resources=Resources(memory=48 << 20)))
    await engine.start(made.id)
    await finished(engine, made.id)
    ended = await engine.inspect(made.id)
    assert (ended.exit_code, ended.oom_killed) == (137, True)


async def test_one_request_lists_running_and_stopped_ones(
    engine: DockerEngine, owner: str, base_image: str, tmp_path: Path
) -> None:
    mark = {f"{LABEL}.mark": "list"}
    running = await engine.create(make_spec(owner, base_image, "l1", SLEEP, labels={**mark, "extra": "a=b c"}))
    created = await engine.create(make_spec(owner, base_image, "l2", SLEEP, labels=mark))
    await engine.create(make_spec(owner, base_image, "l3", SLEEP))
    await engine.start(running.id)
    relay = Relay(DOCKER_SOCKET)
    watched = DockerEngine(await relay.listen_unix(tmp_path / "s"))
    try:
        await watched.facts()
        before = relay.requests
        found = {info.id: info for info in await watched.list({**mark, f"{LABEL}.owner": owner, f"{LABEL}.id": ""})}
        assert relay.requests == before + 1
    finally:
        await watched.close()
        await relay.cut()
    assert {id: info.status for id, info in found.items()} == {running.id: "running", created.id: "created"}
    assert found[running.id].labels["extra"] == "a=b c"
    assert found[running.id].name == running.name
    assert found[created.id].created == created.created
    assert await engine.list({f"{LABEL}.mark": "other"}) == []


async def test_logs_come_whole_and_in_order(engine: DockerEngine, owner: str, base_image: str) -> None:
    script = r"for i in 1 2 3 4 5; do echo line $i; done; printf 'caf\303\251 \377!\nlast, no newline'"
    made = await engine.create(make_spec(owner, base_image, "logs", ("sh", "-c", script)))
    await engine.start(made.id)
    await finished(engine, made.id)
    lines = [f"line {i}" for i in range(1, 6)] + ["café \ufffd!", "last, no newline"]
    assert [line async for line in engine.logs(made.id)] == lines
    assert [line async for line in engine.logs(made.id, tail=2)] == lines[-2:]
    assert [line async for line in engine.logs(made.id, follow=True)] == lines
    with pytest.raises(ContainerNotFound):
        [line async for line in engine.logs("mlenv-no-such-container")]


async def test_followed_logs_are_live_and_end_with_their_reader(
    engine: DockerEngine, owner: str, base_image: str
) -> None:
    script = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done"
    made = await engine.create(make_spec(owner, base_image, "follow", ("sh", "-c", script)))
    await engine.start(made.id)
    async with aclosing(engine.logs(made.id, tail=0, follow=True)) as lines:
        seen = [await anext(lines) for _ in range(3)]
    assert all(line.startswith("tick ") for line in seen)

    async def read_for_ever() -> None:
        async for _ in engine.logs(made.id, follow=True):
            pass

    reading = asyncio.create_task(read_for_ever())
    await eventually(lambda: any("stream" in thread.name for thread in threading.enumerate()), "the reader reads")
    reading.cancel()
    await asyncio.wait([reading], timeout=120)
    assert reading.cancelled()
    await eventually(
        lambda: not any("stream" in thread.name for thread in threading.enumerate()), "no reader thread is left"
    )


async def test_a_cancelled_create_leaves_no_container(engine: DockerEngine, owner: str, base_image: str) -> None:
    spec = make_spec(owner, base_image, "cancelled", SLEEP)
    for delay in (0, 0.001, 0.005, 0.01, 0.03):
        making = asyncio.create_task(engine.create(spec))
        await asyncio.sleep(delay)
        making.cancel()
        result = (await asyncio.gather(making, return_exceptions=True))[0]
        left = await engine.list({f"{LABEL}.id": "cancelled", f"{LABEL}.owner": owner})
        if isinstance(result, asyncio.CancelledError):
            assert left == []
        else:
            await engine.remove(spec.name)


async def test_a_removal_that_goes_on_elsewhere_is_waited_for(
    engine: DockerEngine, owner: str, base_image: str
) -> None:
    spec = make_spec(owner, base_image, "removed", SLEEP)
    for _ in range(3):
        made = await engine.start((await engine.create(spec)).id)
        await asyncio.gather(*(engine.remove(made.id) for _ in range(3)))
        await engine.create(spec)  # the name is free
        await engine.remove(spec.name)
