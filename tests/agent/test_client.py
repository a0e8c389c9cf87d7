"""The agent's client: waiting for an agent, errors as ours, streams that end."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client import AgentClient, ServiceInfo, ServiceStatus
from jupyter_mlenv.agent_client.routes import TunnelRoute, UnixRoute
from jupyter_mlenv.errors import AgentUnreachable, ContainerExited, NotFound, RequestInvalid, ServiceExited
from tests.support.agents import ON_PORT, ON_SOCKET, agent


@pytest.fixture
def path() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="mlenv-")
    yield f"{folder}/agent.sock"
    shutil.rmtree(folder)


async def test_waits_for_an_agent_that_is_still_starting() -> None:
    async with agent(ready=False) as running:
        asked: list[int] = []

        async def still_running() -> None:
            asked.append(1)

        health = await running.client.ready(20, still_running)
        assert health["pid"] == running.process.pid
        assert health["uptime"] >= 0


async def test_waiting_ends_when_the_container_has_ended(path: str) -> None:
    async def still_running() -> None:
        raise ContainerExited("The container exited.", log=["no python"])

    with pytest.raises(ContainerExited):
        await asyncio.wait_for(AgentClient(UnixRoute(path), "token").ready(60, still_running), 20)


async def test_waiting_ends_after_its_time(path: str) -> None:
    with pytest.raises(AgentUnreachable) as caught:
        await AgentClient(UnixRoute(path), "token").ready(0.1)
    assert "0.1 s" in caught.value.message
    assert caught.value.hint


async def test_a_wrong_token_is_not_waited_for() -> None:
    async with agent() as running:
        with pytest.raises(AgentUnreachable) as caught:
            await asyncio.wait_for(AgentClient(running.client.route, "wrong").ready(60), 20)
        assert "token" in caught.value.hint


async def test_services_as_objects() -> None:
    async with agent() as running:
        client = running.client
        web = await client.services.start("web", command=ON_SOCKET, base_url="/")
        assert web == ServiceInfo("web", web.pid, web.socket, None, True)
        assert web.socket is not None
        assert web.target == f"unix:{Path(web.socket).name}"
        board = await client.services.start("board", command=ON_PORT, base_url="/")
        assert board.target == f"127.0.0.1:{board.port}"
        assert client.tunnel(board.target) == TunnelRoute(client.route, client.token, board.target)
        await client.services.stop("web")
        assert await client.services.list() == [
            ServiceStatus("web", web.pid, "exited", web.socket, None, -15),
            ServiceStatus("board", board.pid, "ready", None, board.port, None),
        ]


async def test_errors_are_ours() -> None:
    async with agent() as running:
        client = running.client
        for call in (client.services.log("none"), client.services.stop("none"), client.kernels.stop("none")):
            with pytest.raises(NotFound):
                await call
        with pytest.raises(RequestInvalid, match="command"):
            await client.services.start("x", command=[], base_url="/")
        with pytest.raises(ServiceExited) as caught:
            await client.services.start("x", command=["sh", "-c", "echo why; exit 2", "{port}"], base_url="/")
        assert (caught.value.log, caught.value.details["exit_code"]) == (("why",), 2)
        assert caught.value.to_json()["code"] == "service_exited"


async def test_an_impatient_caller_does_not_stop_what_others_wait_for() -> None:
    slow = ["sh", "-c", 'sleep 0.5; exec "$0" "$@"', *ON_SOCKET]
    async with agent() as running:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(running.client.services.start("web", command=slow, base_url="/"), 0.1)
        assert not (await running.client.services.start("web", command=slow, base_url="/")).started


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 1000000,
    ],
)
async def test_something_that_is_no_agent_is_not_believed(path: str, answer: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(babble, path)
    client = AgentClient(UnixRoute(path), "token")
    try:
        with pytest.raises(AgentUnreachable):
            await client.health()
        with pytest.raises(AgentUnreachable):
            await client.exec(["true"])
        with pytest.raises(AgentUnreachable):
            async for _ in client.kernels.hold("x"):
                pass
    finally:
        server.close()
