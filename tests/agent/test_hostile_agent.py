"""Agents and services that mean harm: nothing that they send makes the host wait, leak or fall over."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client import AgentClient, KernelRequest, unix_sockets
from jupyter_mlenv.agent_client.routes import TunnelRoute, UnixRoute, connect
from jupyter_mlenv.errors import AgentUnreachable, EnvironmentFailed
from jupyter_mlenv.kernels.signed_record import Notes
from jupyter_mlenv.proxy.connection import UpstreamLost
from jupyter_mlenv.proxy.http1 import ProtocolError
from jupyter_mlenv.proxy.pool import Pool
from jupyter_mlenv.proxy.splice import Splices
from tests.support import hostileagent as attacks
from tests.support.hostileagent import OK, TIMEOUT_SECONDS, Attack, Bomb, hostile, json_answer, pass_along
from tests.support.waiting import eventually

HEALTH = b'{"version": "1", "pid": 1, "python": "3.11.2", "uptime": 1.5}'


@pytest.fixture
def path() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="mlenv-"))
    yield str(folder / "agent.sock")
    shutil.rmtree(folder)


@pytest.fixture(params=["refused by the kernel", "taken and closed"], autouse=True)
def rights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How descriptors that nobody asked for are dealt with: by Linux 6.16, or as on older ones."""
    if request.param == "taken and closed":
        monkeypatch.setattr(unix_sockets, "SO_PASSRIGHTS", 9999)
    return str(request.param)


@pytest.fixture
def bombs() -> Iterator[list[Bomb]]:
    """Sockets whose close waits; defused at the end, so that no thread of this process waits any longer."""
    made: list[Bomb] = []
    yield made
    for bomb in made:
        bomb.defuse()


@asynccontextmanager
async def never_still() -> AsyncIterator[None]:
    """The event loop goes on: not once it stands still for a good part of what an attack would have it wait."""
    worst, last = 0.0, time.monotonic()

    async def tick() -> None:
        nonlocal worst, last
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            worst, last = max(worst, now - last), now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    try:
        yield
        await asyncio.sleep(0.05)
    finally:
        ticking.cancel()
    assert worst < TIMEOUT_SECONDS / 3


def held() -> int:
    return len(os.listdir("/proc/self/fd"))


def throw(bombs: list[Bomb], client: socket.socket, data: bytes) -> None:
    """Send bytes, and a bomb along with them, unless the receiver's kernel refuses it."""
    bomb = Bomb()
    try:
        pass_along(client, data, [bomb.sock.fileno()])
    except PermissionError:
        bomb.defuse()
        client.sendall(data)
    else:
        bombs.append(bomb)
        bomb.sock.close()


@pytest.mark.parametrize(
    "attack",
    [
        attacks.one_per_byte,
        attacks.many,
        attacks.listening,
        attacks.unconnected,
        attacks.datagram,
        attacks.packets,
        attacks.a_file,
    ],
    ids=lambda attack: attack.__name__,
)
async def test_an_agent_may_pass_one_connected_stream_socket_and_nothing_else(path: str, attack: Attack) -> None:
    before = held()
    with hostile(path, attack):
        for _ in range(3):
            with pytest.raises(AgentUnreachable):
                await connect(TunnelRoute(UnixRoute(path), "token", "127.0.0.1:80"))
    await eventually(lambda: held() <= before, "every descriptor that came is closed")


async def test_a_passed_socket_that_lingers_is_closed_without_waiting(path: str, bombs: list[Bomb]) -> None:
    def attack(client: socket.socket, head: bytes) -> None:
        bomb = Bomb()
        bombs.append(bomb)
        pass_along(client, OK, [bomb.sock.fileno()])
        bomb.sock.close()

    route = TunnelRoute(UnixRoute(path), "token", "127.0.0.1:80")
    with hostile(path, attack):
        async with never_still():
            (await connect(route)).close()
            pool = Pool(connect)
            connection = await pool.acquire(route)
            connection.begin(b"GET / HTTP/1.1\r\n\r\n", "GET", chunked=False, has_body=False)
            connection.abort()
            pool.close()
            left, right = socket.socketpair()
            splices = Splices()
            splices.sockets(left, await connect(route), b"", b"")
            right.close()
            await splices.close()


async def test_descriptors_that_come_with_an_ordinary_answer_hold_nobody_up(path: str, bombs: list[Bomb]) -> None:
    """The kernel closes what nobody takes, in whoever receives."""

    def attack(client: socket.socket, head: bytes) -> None:
        throw(bombs, client, json_answer(HEALTH)[:20])
        client.sendall(json_answer(HEALTH)[20:])

    with hostile(path, attack):
        before = held()
        async with never_still():
            assert (await AgentClient(UnixRoute(path), "token").health())["python"] == "3.11.2"
            pool = Pool(connect)
            connection = await pool.acquire(UnixRoute(path))
            connection.begin(b"GET / HTTP/1.1\r\n\r\n", "GET", chunked=False, has_body=False)
            assert (await connection.head()).status == 200
            assert await connection.read()
            pool.close()
            (await connect(UnixRoute(path))).close()
        for bomb in bombs:
            bomb.defuse()
        await eventually(lambda: held() <= before + 2, "every descriptor that came is closed")


async def test_descriptors_that_nobody_has_read_hold_nobody_up(path: str, bombs: list[Bomb]) -> None:
    def attack(client: socket.socket, head: bytes) -> None:
        throw(bombs, client, b"x")
        sent.append(True)

    sent: list[bool] = []
    with hostile(path, attack):
        async with never_still():
            sock = await connect(UnixRoute(path))
            sock.send(b"\r\n\r\n")
            await eventually(lambda: sent, "something lies in the socket, unread")
            sock.close()


@pytest.mark.parametrize("how", ["upstream", "splice"])
async def test_a_passed_socket_never_blocks_whatever_becomes_of_its_flags(path: str, how: str) -> None:
    shared: list[Bomb] = []

    def attack(client: socket.socket, head: bytes) -> None:
        bomb = Bomb()
        shared.append(bomb)
        pass_along(client, OK, [bomb.sock.fileno()])

    with hostile(path, attack):
        async with never_still():
            route, pool, splices = TunnelRoute(UnixRoute(path), "token", "127.0.0.1:80"), Pool(connect), Splices()
            left, right = socket.socketpair()
            right.setblocking(False)
            if how == "upstream":
                connection = await pool.acquire(route)
                shared[0].sock.setblocking(True)  # what is shared is the flag, and nothing can be sent
                connection.begin(b"POST / HTTP/1.1\r\n\r\n", "POST", chunked=False, has_body=True)
                writing = asyncio.create_task(connection.write(bytes(1 << 20)))
                await asyncio.sleep(0.1)
                assert not writing.done(), "it waits for the service to take it"
                connection.abort()
                await writing
            else:
                sock = await connect(route)
                splices.sockets(left, sock, b"", b"")
                shared[0].sock.setblocking(True)
                await asyncio.get_running_loop().sock_sendall(right, b"something to send")
                await asyncio.sleep(0.1)
            pool.close()
            await splices.close()
            right.close()
    for bomb in shared:
        bomb.defuse()


async def test_what_breaks_off_is_told_as_before(path: str) -> None:
    with hostile(path, attacks.says(b"")):
        pool = Pool(connect)
        connection = await pool.acquire(UnixRoute(path))
        connection.begin(b"GET / HTTP/1.1\r\n\r\n", "GET", chunked=False, has_body=False)
        with pytest.raises((UpstreamLost, ProtocolError)):
            await connection.head()
        pool.close()


ODD = {
    "a list": b"[]",
    "null": b"null",
    "nothing": b"",
    "empty": b"{}",
    "no JSON": b"<html>",
    "deep": b'{"a":' + b"[" * 90000 + b"]" * 90000 + b"}",
    "endless": b'{"a":[' + b"0," * 3_000_000 + b"0]}",
    "a huge number": b'{"pid": ' + b"9" * 100_000 + b"}",
    "infinite": b'{"uptime": 1e999}',
    "not a number": b'{"uptime": NaN}',
    "bytes": b'{"python": "\xff\xfe"}',
    "wrong types": b'{"version": 1, "pid": "1", "python": null, "uptime": [], "services": 1, "kernels": {"a": 1}, '
    b'"lines": [1], "key": {}, "socket": 5, "port": "x", "started": "no", "id": [], "forked": 0}',
    "items of wrong types": b'{"services": [1, null, []], "kernels": [{"id": {}}], "lines": "x", "stats": 1}',
    "half a character": b'{"version": "\\ud800", "python": "\\u001b]52;c;x\\u0007", "pid": 1, "uptime": 1, "key": '
    b'"\\ud800", "socket": "/x/s-\\ud800.sock", "services": [{"key": "\\ud800"}], "kernels": [{"id": "\\ud800"}]}',
    "a socket elsewhere": b'{"key": "k", "pid": 1, "socket": "/run/mlenv/../../etc/s-1.sock\\u0000", "port": null, '
    b'"started": true}',
}


@pytest.mark.parametrize("status", [b"200 OK", b"502 Bad"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_odd_answers_are_an_agent_that_is_not_ours(path: str, odd: bytes, status: bytes) -> None:
    body = odd if status.startswith(b"200") else b'{"error": %s}' % (odd or b'"x"')
    with hostile(path, attacks.says(json_answer(body).replace(b"200 OK", status))):
        client = AgentClient(UnixRoute(path), "token")
        asked = {
            "health": client.health(),
            "service": client.services.start("k", command=["x"], base_url="/"),
            "services": client.services.list(),
            "kernel": client.kernels.start("id", KernelRequest(connection={})),
            "kernels": client.kernels.list(),
            "stat": client.stat(["/x"]),
            "hold": anext(client.kernels.hold("id")),
            "exec": client.exec(["x"]),
        }
        async with never_still():
            for name, question in asked.items():
                with pytest.raises(EnvironmentFailed):
                    print(name, await question)
            if b"lines" in odd:
                with pytest.raises(EnvironmentFailed):
                    await client.services.log("k")


@pytest.mark.parametrize(
    "attack",
    [
        attacks.endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n" * 1000),
        attacks.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", bytes(1 << 20)),
        attacks.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{", bytes(1 << 20)),
        attacks.endless(b"", bytes(1 << 16)),
        attacks.says(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n{ }"),
        attacks.says(b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n{ }"),
        attacks.says(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{ }"),
        attacks.says(b"HTTP/1.1 \xb2\xb2\xb2 OK\r\nContent-Length: 3\r\n\r\n{ }"),
        attacks.says(b"HTTP/1.1 200 OK\r\n\r\n{}"),
    ],
    ids=["head", "length", "body", "babble", "sign", "digits", "longer", "status", "none"],
)
async def test_answers_without_an_end_are_given_up(path: str, attack: Attack) -> None:
    with hostile(path, attack):
        client = AgentClient(UnixRoute(path), "token")
        tracemalloc.start()
        try:
            async with never_still():
                with pytest.raises(AgentUnreachable):
                    await client.health()
                with pytest.raises(AgentUnreachable):
                    await client.exec(["x"])
            assert tracemalloc.get_traced_memory()[1] < 32 << 20, "bytes at most"
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "line",
    [b"x" * (1 << 20), b"[]\n", b'{"event": 1}\n', b'{"event": "kernel_exited", "exit_code": "x"}\n', b"{" * 9999],
    ids=["endless", "list", "number", "code", "deep"],
)
async def test_a_stream_of_odd_lines_is_broken_off(path: str, line: bytes) -> None:
    with hostile(path, attacks.says(b"HTTP/1.1 200 OK\r\n\r\n" + line)), pytest.raises(AgentUnreachable):
        async for _ in AgentClient(UnixRoute(path), "token").kernels.hold("id"):
            pass


@pytest.mark.parametrize(
    "frame",
    [b"\1\xff\xff\xff\xff", b"\3\0\0\0\0", b"\3\0\0\0\x09", b"\7\0\0\0\1x" * 5000, b"\1\0\0\0\0" * 100000],
    ids=["long", "no code", "long code", "unknown", "empty"],
)
async def test_odd_frames_of_a_command_are_broken_off(path: str, frame: bytes) -> None:
    with hostile(path, attacks.endless(b"HTTP/1.1 101 Upgraded\r\n\r\n" + frame, bytes(1 << 16))):
        async with never_still(), await AgentClient(UnixRoute(path), "token").exec(["x"]) as session:
            with pytest.raises(AgentUnreachable):
                await session.wait()


def test_a_note_of_half_characters_is_no_note() -> None:
    assert Notes(b"secret", "server").read({"text": "\ud800", "seal": "0" * 64}) is None
