"""The agent as a process: requests, services, events, its end. Exec has a file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client import AgentClient, ServiceInfo
from jupyter_mlenv.agent_client.routes import connect
from jupyter_mlenv.errors import AgentUnreachable, NotFound, RequestInvalid, ServiceExited, ServiceTimeout
from tests.support.agents import (
    HTTP_SERVER,
    ON_PORT,
    ON_SOCKET,
    RunningAgent,
    agent,
    alive,
    gone,
    interpreters,
    lay_out,
    raw,
)
from tests.support.waiting import eventually


async def get(client: AgentClient, service: ServiceInfo, path: str) -> tuple[int, bytes]:
    """Status and body of a GET through the tunnel."""
    reader, writer = await asyncio.open_connection(sock=await connect(client.tunnel(service.target)))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def start(running: RunningAgent, key: str, command: list[str], **options: object) -> ServiceInfo:
    return await running.client.services.start(key, command=command, **{"base_url": "/", "timeout": 20, **options})


async def until_logged(running: RunningAgent, key: str, text: str) -> list[str]:
    for _ in range(500):
        lines = await running.client.services.log(key)
        if any(text in line for line in lines):
            return lines
        await asyncio.sleep(0.01)
    raise AssertionError(f"{text!r} was never logged: {lines}")


@pytest.mark.parametrize("which", [0, -1], ids=["oldest", "newest"])
async def test_runs_on_old_and_new_interpreters_and_ends_cleanly(which: int) -> None:
    async with agent(interpreters()[which]) as running:
        health = await running.client.health()
        assert health["pid"] == running.process.pid
        assert health["python"].startswith("3.")
        assert stat.S_IMODE((running.run_dir / "agent.sock").stat().st_mode) == 0o600
        service = await start(running, "web", ON_SOCKET)
        assert await get(running.client, service, "/x") == (200, b"/x")
        async with await running.client.exec(["echo", "hi"], tty=True) as session:
            assert [piece async for piece in session] == [("stdout", b"hi\r\n")]
        assert running.stop() == 0
        assert sorted(os.listdir(running.run_dir)) == ["opt", "output", "token"]
        assert not alive(service.pid)
        assert not running.failed()


async def test_says_what_lies_at_a_path() -> None:
    async with agent(interpreters()[0]) as running:
        here = os.stat(running.run_dir)
        paths = [str(running.run_dir), "/nowhere/at/all", "/" + "x" * 300, "nul\udcff"]
        assert await running.client.stat(paths) == [(here.st_dev, here.st_ino), None, None, None]
        assert await running.client.stat([]) == []
        with pytest.raises(RequestInvalid):
            await running.client.stat(["\0"])


async def test_a_stale_socket_of_a_killed_agent_is_replaced() -> None:
    async with agent() as running:
        running.process.kill()
        running.process.wait()
        assert (running.run_dir / "agent.sock").exists()
        running.start()
        assert (await running.client.ready(20))["pid"] == running.process.pid


async def test_answers_over_tcp_too() -> None:
    async with agent(tcp=True) as running:
        assert (await running.client.health())["pid"] == running.process.pid
        assert not (running.run_dir / "agent.sock").exists()
        with pytest.raises(AgentUnreachable):
            await AgentClient(running.client.route, "wrong").health()


@pytest.mark.parametrize("token", [None, "", " \n"])
def test_does_not_start_without_a_token(tmp_path: Path, token: str | None) -> None:
    if token is not None:
        (tmp_path / "token").write_text(token)
    command = [
        sys.executable,
        str(lay_out(tmp_path / "opt")),
        "--run-dir",
        str(tmp_path),
        "--token",
        str(tmp_path / "token"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "token" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "agent.sock").exists()


@pytest.mark.parametrize("header", ["", "Authorization: Bearer wrong\r\n", "Authorization: Bearer \r\n"])
async def test_without_the_token_nothing_is_done(header: str, tmp_path: Path) -> None:
    async with agent() as running:
        body = f'{{"command": ["touch", "{tmp_path}/done", "{{port}}"]}}'
        for verb in (
            "PUT /v1/services/x",
            "GET /v1/health",
            "CONNECT 127.0.0.1:80",
            "POST /v1/exec",
            "GET /v1/kernels",
        ):
            answer = await raw(
                running, f"{verb} HTTP/1.1\r\n{header}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            assert answer.startswith(b"HTTP/1.1 401 "), verb
            assert answer.count(b"HTTP/1.1") == 1
        assert await running.client.services.list() == []
        assert not (tmp_path / "done").exists()


GARBAGE = {
    "nothing": b"",
    "binary": bytes(range(256)) * 40,
    "no version": b"GET /v1/health\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nhello\r\n\r\n",
    "endless head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000,
    "endless line": b"G" * 200000,
    "half a head": b"GET / HTTP/1.1\r\nHost:",
    "spaced name": b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
    "twice": b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_refused_and_harms_nobody(data: bytes) -> None:
    async with agent() as running:
        answer = await raw(running, data)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert (await running.client.health())["pid"] == running.process.pid
        assert not running.failed()


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("PUT /v1/services/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{auth}\r\n0\r\n\r\n", 411),
        ("PUT /v1/services/x HTTP/1.1\r\nContent-Length: -1\r\n{auth}\r\n", 411),
        ("PUT /v1/services/x HTTP/1.1\r\nContent-Length: ²\r\n{auth}\r\n", 411),
        ("PUT /v1/services/x HTTP/1.1\r\nContent-Length: 9999999\r\n{auth}\r\n", 413),
        ("PUT /v1/services/x HTTP/1.1\r\nContent-Length: 2\r\n{auth}\r\n[]", 400),
        ("PUT /v1/services/x HTTP/1.1\r\nContent-Length: 3\r\n{auth}\r\n{{{{{{", 400),
        ("PUT /v1/services/ HTTP/1.1\r\n{auth}\r\n", 405),
        ("POST /v1/services HTTP/1.1\r\n{auth}\r\n", 405),
        ("GET /v2/health HTTP/1.1\r\n{auth}\r\n", 404),
        ("GET /v1/services/none/log HTTP/1.1\r\n{auth}\r\n", 404),
        ("GET /v1/services/none/log/x HTTP/1.1\r\n{auth}\r\n", 404),
        ("CONNECT 10.0.0.1:80 HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT 127.0.0.1:99999 HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT unix:../x.sock HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT unix:/run/docker.sock HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT unix:token HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT unix:.sock HTTP/1.1\r\n{auth}\r\n", 403),
        ("CONNECT unix:none.sock HTTP/1.1\r\n{auth}\r\n", 502),
        ("POST /v1/exec HTTP/1.1\r\n{auth}\r\n", 400),
        ("POST /v1/exec HTTP/1.1\r\nUpgrade: mlenv-exec\r\nX-Mlenv-Exec: %%%\r\n{auth}\r\n", 400),
    ],
)
async def test_requests_that_make_no_sense_get_the_right_status(request_text: str, status: int) -> None:
    async with agent() as running:
        auth = f"Authorization: Bearer {running.client.token}\r\n"
        answer = await raw(running, request_text.format(auth=auth).encode("latin-1"))
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert b'"message"' in answer
        assert not running.failed()


async def test_a_connection_takes_several_requests() -> None:
    async with agent() as running:
        request = f"GET /v1/health HTTP/1.1\r\nAuthorization: Bearer {running.client.token}\r\n\r\n"
        assert (await raw(running, request.encode() * 3)).count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "wish",
    [
        {"command": []},
        {"command": ["x\0", "{port}"]},
        {"command": ["true"]},  # listens nowhere
        {"command": ON_PORT, "base_url": "/x\r\nEvil: 1/"},
        {"command": ON_PORT, "base_url": "/ä/"},
        {"command": ON_PORT, "base_url": "http://elsewhere/"},
        {"command": ON_PORT, "timeout": -1},
        {"command": ON_PORT, "variables": {"port": "http"}},
    ],
)
async def test_a_service_that_cannot_be_meant_is_refused(wish: dict[str, object]) -> None:
    async with agent() as running:
        with pytest.raises(RequestInvalid):
            await start(running, "x", **wish)  # type: ignore[arg-type]
        assert await running.client.services.list() == []


@pytest.mark.parametrize("command", [ON_SOCKET, ON_PORT], ids=["socket", "port"])
async def test_a_service_is_started_once_and_found_again(command: list[str]) -> None:
    async with agent() as running:
        first = await start(running, "web/ä b?", command, base_url="/user/alice%40b/", ready="missing")
        assert first.started
        again = await start(running, "web/ä b?", command)
        assert (again.pid, again.target, again.started) == (first.pid, first.target, False)
        assert await get(running.client, first, "/y") == (200, b"/y")
        if first.socket:
            assert stat.S_IMODE(os.stat(first.socket).st_mode) == 0o600
            assert len(Path(first.socket).name) == len("s-01234567.sock")
        log = await running.client.services.log("web/ä b?")
        assert '"GET /user/alice%40b/missing HTTP/1.1" 404 -' in log[-1] or "404" in "".join(log)
        assert "[web/ä b?] serving on" in running.output.read_text()


async def test_many_requests_at_once_get_one_process() -> None:
    async with agent() as running:
        services = await asyncio.gather(*(start(running, "web", ON_SOCKET) for _ in range(50)))
        assert len({service.pid for service in services}) == 1
        assert sum(service.started for service in services) == 1


async def test_many_requests_at_once_share_one_failure(tmp_path: Path) -> None:
    async with agent() as running:
        command = ["sh", "-c", f"echo run >> {tmp_path}/runs; sleep 0.2; exit 3", "{port}"]
        results = await asyncio.gather(*(start(running, "bad", command) for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {ServiceExited}
        assert (tmp_path / "runs").read_text() == "run\n"


async def test_a_service_that_exits_at_once_says_why_and_can_be_started_again(tmp_path: Path) -> None:
    flag = tmp_path / "repaired"
    script = f"test -e {flag} || {{ echo 'no module named lab' >&2; printf 'last words'; exit 3; }}; exec \"$0\" \"$@\""
    async with agent() as running:
        with pytest.raises(ServiceExited) as caught:
            await start(running, "web", ["sh", "-c", script, *ON_SOCKET])
        assert caught.value.details["exit_code"] == 3
        assert caught.value.log == ("no module named lab", "last words")
        (status,) = await running.client.services.list()
        assert (status.state, status.exit_code) == ("exited", 3)
        flag.touch()
        assert (await start(running, "web", ["sh", "-c", script, *ON_SOCKET])).started


async def test_a_program_that_is_not_there_is_named() -> None:
    async with agent() as running:
        with pytest.raises(ServiceExited) as caught:
            await start(running, "web", ["no-such-program", "{port}"])
        assert caught.value.details["exit_code"] == 127
        assert "no-such-program" in caught.value.log[0]
        with pytest.raises(ServiceExited) as caught:
            await start(running, "web", ON_PORT, cwd="/no/such/folder")
        assert "/no/such/folder" in caught.value.log[0]


@pytest.mark.parametrize(
    "script",
    ["echo thinking; sleep 1000", HTTP_SERVER.replace("200", "503"), "trap '' TERM; echo thinking; sleep 1000"],
)
async def test_a_service_that_never_answers_is_killed(script: str) -> None:
    command = [sys.executable, "-c", script, "{port}"] if "import" in script else ["sh", "-c", script, "{port}"]
    async with agent() as running:
        with pytest.raises(ServiceTimeout) as caught:
            await start(running, "web", command, timeout=0.5)
        assert caught.value.log
        (status,) = await running.client.services.list()
        assert status.state == "exited"
        assert status.pid is not None
        assert not alive(status.pid)


async def test_a_service_that_died_is_started_again_by_the_next_request() -> None:
    async with agent() as running:
        first = await start(running, "web", ON_PORT)
        os.kill(first.pid, signal.SIGKILL)

        async def exited() -> bool:
            (status,) = await running.client.services.list()
            return (status.state, status.exit_code) == ("exited", -9)

        await eventually(exited, "the agent knows of its end")
        second = await start(running, "web", ON_PORT)
        assert second.started
        assert second.pid != first.pid


async def test_stopping_spares_nobody(tmp_path: Path) -> None:
    script = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if not child:
    while True:
        signal.pause()
print("child", child, flush=True)
"""
    async with agent() as running:
        service = await start(running, "web", [sys.executable, "-c", script + HTTP_SERVER, "{socket}"])
        child = int((await until_logged(running, "web", "child "))[0].split()[1])
        await running.client.services.stop("web")  # both ignore SIGTERM
        assert not alive(service.pid)
        await gone(child)
        assert (service.socket or "").rpartition("/")[2] not in os.listdir(running.run_dir)
        with pytest.raises(NotFound):
            await running.client.services.stop("other")


async def test_what_a_dead_service_leaves_behind_is_killed() -> None:
    script = 'import os, time\nif not os.fork(): time.sleep(1000)\nprint("child", os.getpgid(0), flush=True)\n'
    async with agent() as running:
        service = await start(running, "web", [sys.executable, "-c", script + HTTP_SERVER, "{socket}"])
        os.kill(service.pid, signal.SIGKILL)
        for _ in range(1000):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(service.pid, 0)
                await asyncio.sleep(0.01)
                continue
            break
        with pytest.raises(ProcessLookupError):
            os.killpg(service.pid, 0)


async def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    show = "import os, sys; print(os.environ['WHERE'], os.getcwd(), *sys.argv[2:], flush=True)\n"
    words = [
        "{python}",
        "{base_url}",
        "{base_url_noslash}",
        "{path_prefix}",
        "{workspace}",
        '{"json": {"a": 1}}',
        "{unknown}",
        "{0}",
    ]
    async with agent() as running:
        await start(
            running,
            "web",
            [sys.executable, "-c", show + HTTP_SERVER, "{socket}", *words],
            base_url="/a%40b/",
            env={"WHERE": "at {workspace}"},
            cwd="{workspace}",
            variables={"workspace": str(tmp_path)},
        )
        (first, *_) = await until_logged(running, "web", "at ")
        given = [sys.executable, "/a%40b/", "/a%40b", "/a@b", str(tmp_path), '{"json": {"a": 1}}', "{unknown}", "{0}"]
        assert first == f"at {tmp_path} {tmp_path} " + " ".join(given)


async def test_what_a_variable_holds_is_not_filled_in_again() -> None:
    async with agent() as running:
        await start(running, "web", [*ON_SOCKET, "{workspace}"], variables={"workspace": "/{port}/{python}"})
        assert (await until_logged(running, "web", "serving"))[0].endswith(" /{port}/{python}")


async def test_a_service_may_bring_its_own_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with agent() as running:
        service = await start(running, "web", [sys.executable, "-c", HTTP_SERVER, str(port)], variables={"port": port})
        assert service.port == port


async def test_a_service_that_prints_without_end_is_neither_blocked_nor_kept() -> None:
    script = """
import sys, threading
def talk():
    for number in range(60000):
        print("line", number)
    sys.stdout.buffer.write(b"\\xff" + b"x" * 100000 + b"\\n")
    print("done", flush=True)
threading.Thread(target=talk).start()
"""
    async with agent() as running:
        await start(running, "web", [sys.executable, "-c", script + HTTP_SERVER, "{socket}"])
        await until_logged(running, "web", "done")
        lines = await running.client.services.log("web", tail=10000)
        assert len(lines) <= 500
        assert "line 59999" in lines
        assert max(map(len, lines)) <= 8192
        assert await running.client.services.log("web", tail=0) == []


async def test_an_engine_that_takes_no_output_does_not_stop_the_agent() -> None:
    reader, writer = os.pipe()
    try:
        async with agent() as running:
            running.stop()
            running.start(stderr=writer)
            await running.client.ready(20)
            script = "for i in range(20000): print('x' * 100)\nprint('done', flush=True)\n"
            await start(running, "web", [sys.executable, "-c", script + HTTP_SERVER, "{socket}"])
            await until_logged(running, "web", "done")
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_stopped_agent_takes_its_services_along() -> None:
    async with agent() as running:
        service = await start(running, "web", ON_SOCKET)
        stubborn = await start(running, "stubborn", ["sh", "-c", 'trap "" TERM; "$0" "$@"', *ON_PORT])
        session = await running.client.exec(["sleep", "1000"])
        assert running.stop() == 0
        assert not alive(service.pid)
        assert not alive(stubborn.pid)
        await session.close()
        assert sorted(os.listdir(running.run_dir)) == ["opt", "output", "token"]


BASE_URL = "/user/alice%40b/x/"


async def test_a_real_jupyterlab_on_a_socket(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.sock={socket}"]
    command += ["--ServerApp.base_url={base_url}", "--IdentityProvider.token=", "--ServerApp.allow_root=True"]
    command += ["--ServerApp.root_dir={workspace}", "--ServerApp.allow_remote_access=True"]
    env = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    async with agent() as running:
        service = await start(
            running,
            "notebook",
            command,
            base_url=BASE_URL,
            ready="api",
            timeout=60,
            env=env,
            variables={"workspace": str(tmp_path)},
        )
        status, body = await get(running.client, service, BASE_URL + "api")
        assert status == 200
        assert b"version" in body


async def test_a_real_tensorboard_on_a_port(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tensorboard.main", "--host=127.0.0.1", "--port={port}", "--logdir={workspace}"]
    command += ["--path_prefix={path_prefix}"]
    async with agent() as running:
        service = await start(
            running, "board", command, base_url=BASE_URL, timeout=60, variables={"workspace": str(tmp_path)}
        )
        status, body = await get(running.client, service, BASE_URL + "data/environment")
        assert status == 200
        assert str(tmp_path).encode() in body
