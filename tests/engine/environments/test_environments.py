"""Whole environments on the real engine: this machine's Python in a box, its life, its walls, and its endpoints."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client.routes import Route, connect
from jupyter_mlenv.container_layout import RUN_DIR
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import EnvironmentNotFound, EnvironmentNotRunning
from jupyter_mlenv.planning import host_python
from tests.support.docker import DOCKER_SOCKET, Relay
from tests.support.environments import (
    BOX,
    ECHO,
    Left,
    Named,
    Settings,
    by_hand,
    inside,
    inspected,
    lines_of,
    opened,
    start,
    watching,
)
from tests.support.events import write_scalars

NEVER = {
    "DAC_READ_SEARCH": 2,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
}
"""Capabilities that nothing in an environment can get, even where the person is root; bits of linux/capability.h."""

LOOK = """
import json, os, socket
def readable(path):
    try:
        return bool(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError:
        return False
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
mounts = [line.split() for line in open("/proc/self/mountinfo")]
def limit(*paths):
    return next((open(p).read().strip() for p in paths if os.path.exists(p)), None)
print(json.dumps({
    "cwd": os.getcwd(), "uid": os.getuid(), "gid": os.getgid(), "home": os.path.expanduser("~"),
    "name": __import__("pwd").getpwuid(os.getuid()).pw_name,
    "capabilities": int(status["CapBnd"], 16), "effective": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "writable": sorted(m[4] for m in mounts if "rw" in m[5].split(",")),
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "personal": sorted(m[4] for m in mounts if m[4].startswith(("/home/", "/root/"))),
    "seen": [path for path in PATHS if readable(path)],
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "memory": limit("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "pids": limit("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
    "cpus": limit("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
}))
"""


@pytest.fixture
def box(named: Named) -> str:
    """The name of a preset with limits and endpoints of its own."""
    return named("box", BOX)


@pytest.fixture
async def environments(settings: Settings) -> AsyncIterator[Environments]:
    async with opened(settings()) as environments:
        yield environments


async def test_inside_there_is_the_project_and_nothing_else(
    environments: Environments, box: str, workspace: Path
) -> None:
    secret = workspace.parent / "secret.txt"
    secret.write_text("nobody's business")
    environment, job = await start(environments, box, workspace)
    assert environment.state is State.RUNNING
    assert environment.warnings == ()
    assert not [line for line in lines_of(job) if "warning" in line]

    hidden = [
        str(secret),
        "/etc/shadow",
        "/etc/ssh",
        "/var/lib/docker",
        "/var/run/docker.sock",
        str(Path.home() / ".ssh"),
    ]
    seen = await inside(environments, environment.id, f"PATHS = {hidden!r}\n{LOOK}")

    assert (seen["cwd"], seen["uid"], seen["gid"]) == (str(workspace), os.getuid(), os.getgid())
    assert seen["home"] == environments.settings.home
    assert seen["seen"] == []
    # Of anybody's files only the interpreter's own, where it is installed in a home directory.
    assert set(seen["personal"]) <= {str(workspace), *host_python.prefixes(environments.settings)}
    # What can be written at all: the container's own disposable layer, the project, the run directory, /dev, /proc,
    # and what the engine makes for every container.
    engines = {"/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sys/fs/cgroup"}
    own = engines | {str(workspace), RUN_DIR}
    assert [path for path in seen["writable"] if path not in own and not path.startswith(("/dev", "/proc"))] == []
    assert len(seen["processes"]) < 6, "it sees processes that are not its own"


async def test_nothing_is_privileged_and_every_limit_holds(
    environments: Environments, box: str, workspace: Path
) -> None:
    environment, _ = await start(environments, box, workspace)
    seen = await inside(environments, environment.id, f"PATHS = []\n{LOOK}")
    assert seen["no_new_privileges"] == "1"
    assert seen["seccomp"] == "2"
    assert [name for name, bit in NEVER.items() if seen["capabilities"] >> bit & 1] == []
    assert os.getuid() == 0 or seen["effective"] == 0
    assert seen["memory"] == str(600 << 20)
    assert seen["pids"] == "321"
    assert seen["cpus"].split()[0] == "75000"
    assert seen["shm"] == 48 << 20

    host = inspected(environment.id)["HostConfig"]
    assert host["Privileged"] is False
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert host["IpcMode"] == "private"
    assert host["NetworkMode"] in ("default", "bridge")
    assert not host["Devices"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Init"] is True
    assert not any("docker.sock" in mount["Source"] for mount in inspected(environment.id)["Mounts"])
    assert not host["PortBindings"]


async def test_a_life_stop_start_restart_remove(
    environments: Environments, box: str, workspace: Path, left: Left
) -> None:
    environment, _ = await start(environments, box, workspace)
    id = environment.id
    await inside(environments, id, "open('made', 'w').write('kept'); open('/tmp/in-the-box', 'w').close(); print(1)")
    made = workspace / "made"
    assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())

    async with watching(environments) as watch:
        stopped = await environments.stop(id)
        assert stopped.state is State.STOPPED
        await watch.state(id, "stopped")
        with pytest.raises(EnvironmentNotRunning):
            await environments.service(id, "echo", "/")

        # A start of the same preset in the same project is the same container: what was made in it is still there.
        known = len(watch.seen)
        again, job = await start(environments, box, workspace)
        assert again.container == environment.container
        assert lines_of(job) == []
        await watch.state(id, "running", known)
        assert await inside(environments, id, "import os; print(int(os.path.exists('/tmp/in-the-box')))") == 1

        before = inspected(id)["State"]["StartedAt"]
        restarted = await (await environments.restart(id))[1].wait()
        assert restarted.container == environment.container
        assert inspected(id)["State"]["StartedAt"] != before

        known = len(watch.seen)
        await environments.remove(id)
        await watch.until(lambda c: c["type"] == "removed" and c["id"] == id, "it was removed", known)
    with pytest.raises(EnvironmentNotFound):
        await environments.get(id)
    assert left() == []
    assert made.read_text() == "kept"


async def test_a_paused_container_starts_and_stops(environments: Environments, box: str, workspace: Path) -> None:
    environment, _ = await start(environments, box, workspace)
    async with watching(environments) as watch:
        await environments.service(environment.id, "echo", "/")
        by_hand("pause", environment.id)
        # Whoever asks and whoever watches is told the same, and a request is answered at once.
        change = await watch.state(environment.id, "stopped")
        assert "paused" in change["environment"]["warnings"][0]
        assert (await environments.get(environment.id)).state is State.STOPPED
        assert [each.state for each in await environments.list()] == [State.STOPPED]
        assert environments.cached_service(environment.id, "echo", "/") is None
        with pytest.raises(EnvironmentNotRunning, match="is paused"):
            await environments.service(environment.id, "echo", "/")
        before = len(watch.seen)
        by_hand("unpause", environment.id)
        await watch.state(environment.id, "running", before)
    by_hand("pause", environment.id)
    assert (await start(environments, box, workspace))[0].state is State.RUNNING
    by_hand("pause", environment.id)
    assert (await environments.stop(environment.id)).state is State.STOPPED


async def test_an_engine_over_tcp_is_reached_where_it_listens(settings: Settings, box: str, workspace: Path) -> None:
    relay = Relay(DOCKER_SOCKET)
    try:
        url = f"tcp://127.0.0.3:{await relay.listen_tcp('127.0.0.3')}"
        async with opened(settings(engine_url=url)) as environments:
            environment, _ = await start(environments, box, workspace)
            (binding,) = inspected(environment.id)["NetworkSettings"]["Ports"]["8700/tcp"]
            assert binding["HostIp"] == "127.0.0.3"
            assert await inside(environments, environment.id, "print(6 * 7)") == 42
    finally:
        await relay.cut()


async def test_without_a_shared_file_system_everything_goes_through_one_port(
    settings: Settings, box: str, workspace: Path, run_root: str
) -> None:
    (workspace / "here.txt").write_text("x")
    await asyncio.to_thread(write_scalars, workspace / "runs", "loss", [1.0, 0.5])
    async with opened(settings(shared_filesystem=False)) as environments:
        environment, _ = await start(environments, box, workspace)
        id = environment.id
        assert environment.run_dir == ""
        assert os.listdir(run_root) == []
        (binding,) = inspected(id)["NetworkSettings"]["Ports"]["8700/tcp"]
        assert binding["HostIp"] == "127.0.0.1"

        base = f"/user/a%40b/mlenv/envs/{id}"
        notebook = await environments.service(id, "notebook", "/user/a%40b/")
        assert "here.txt" in await get(notebook, f"{base}/notebook/api/contents")
        board = await environments.service(id, "tensorboard", "/user/a%40b/")
        assert "scalars" in await get(board, f"{base}/tensorboard/data/plugins_listing")
        agent = await environments.agent(id)
        async with await agent.exec(["python3", "-u", "-c", ECHO, "5005"]) as session:
            assert b"listening" in (await anext(session))[1]
            port = await environments.service(id, "5005", "/")
            assert '"uri": "/any/where"' in await get(port, "/any/where")

        # The engine publishes another port after a restart.
        await (await environments.restart(id))[1].wait()
        echo = await environments.service(id, "echo", "/")
        assert '"uri": "/again"' in await get(echo, "/again")


async def get(route: Route, path: str) -> str:
    """An answer of 200 and its body, over a connection of its own."""
    with closing(await connect(route)) as sock:
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 200 "), answer
    return answer.partition("\r\n\r\n")[2]
