"""Routes against real sockets and a real agent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client import ListeningPort
from jupyter_mlenv.agent_client.routes import Route, TcpRoute, TunnelRoute, UnixRoute, connect, within
from jupyter_mlenv.errors import AgentUnreachable
from tests.support.agents import ON_PORT, agent, free_port
from tests.support.waiting import eventually

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="mlenv-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def serving(serve: Serve, path: str = "") -> AsyncIterator[int]:
    """A server on a socket or a loopback port."""
    if path:
        server = await asyncio.start_unix_server(serve, path)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back, then the end."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(route: Route, data: bytes) -> bytes:
    """Send, end, and all that comes back."""
    reader, writer = await asyncio.open_connection(sock=await connect(route))
    try:

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        _, answer = await asyncio.wait_for(asyncio.gather(send(), reader.read()), 60)
        return answer
    finally:
        writer.close()


def descriptors() -> set[str]:
    """Sockets and other files that are open now."""
    return {f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if _exists(fd)}


def _exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


async def test_unix_and_tcp(folder: Path) -> None:
    path = str(folder / "x.sock")
    async with serving(echo, path), serving(echo) as port:
        for route in (UnixRoute(path), TcpRoute("127.0.0.1", port), TcpRoute("localhost", port)):
            assert await talk(route, b"hello") == b"hello"
        sock = await connect(TcpRoute("127.0.0.1", port))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
        assert not sock.getblocking()
        sock.close()


async def test_a_socket_path_may_be_longer_than_the_kernel_takes(folder: Path) -> None:
    long = folder / ("ä" * 100) / ("b" * 100)
    long.mkdir(parents=True)
    async with serving(echo, str(folder / "x.sock")):
        (folder / "x.sock").rename(long / "x.sock")
        before = descriptors()
        assert await talk(UnixRoute(str(long / "x.sock")), b"hello") == b"hello"
        with pytest.raises(FileNotFoundError):
            await connect(UnixRoute(str(long / "y.sock")))
        with pytest.raises(FileNotFoundError):
            await connect(UnixRoute(str(long / "nowhere" / "x.sock")))
        await asyncio.sleep(0)
        assert len(descriptors()) <= len(before)


async def test_what_is_not_there_is_an_oserror(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connect(UnixRoute(str(folder / "none.sock")))
    with pytest.raises(ConnectionRefusedError):
        await connect(TcpRoute("127.0.0.1", free_port()))
    with pytest.raises(OSError, match=r"."):
        await connect(TcpRoute("no-such-host.invalid", 80))
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "stale.sock"))
    stale.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(UnixRoute(str(folder / "stale.sock")))


@pytest.mark.parametrize("shape", ["link", "dangling", "pipe", "file", "directory", "datagram"])
async def test_what_is_no_stream_socket_itself_is_never_connected_to(folder: Path, shape: str) -> None:
    """A service socket lies where code in the environment can put anything, such as a link to the engine's socket."""
    reached = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    place = folder / "s-1.sock"
    async with serving(served, str(folder / "other.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
            if shape == "link":
                place.symlink_to("other.sock")
            elif shape == "dangling":
                place.symlink_to("nowhere")
            elif shape == "pipe":
                os.mkfifo(place)
            elif shape == "file":
                place.touch()
            elif shape == "directory":
                place.mkdir()
            else:
                datagram.bind(str(place))
            before = descriptors()
            with pytest.raises(OSError, match=r"."):
                await connect(UnixRoute(str(place)))
            assert descriptors() == before
    assert not reached.is_set()


async def test_somebody_elses_socket_is_never_connected_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(echo, str(folder / "x.sock")):
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
        with pytest.raises(ConnectionRefusedError):
            await connect(UnixRoute(str(folder / "x.sock")))


async def test_a_full_backlog_is_waited_for_and_never_mistaken_for_a_connection(folder: Path) -> None:
    path = str(folder / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = await connect(UnixRoute(path))
        with pytest.raises(TimeoutError):
            await connect(UnixRoute(path), timeout=0.1)
        waiting = asyncio.create_task(connect(UnixRoute(path)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        listener.accept()[0].close()
        second = await asyncio.wait_for(waiting, 120)
        assert second.getpeername() == path
        first.close()
        second.close()


@pytest.fixture(params=["handed over", "through the agent"])
def tcp(request: pytest.FixtureRequest) -> bool:
    """Whether the agent is reached by TCP, so that the tunnel's bytes pass through it."""
    return bool(request.param == "through the agent")


async def test_fifty_megabytes_pass_both_ways(tcp: bool) -> None:
    data = random.Random(3).randbytes(50 << 20)
    async with agent(tcp=tcp) as running, serving(echo) as port, serving(echo, str(running.run_dir / "e.sock")):
        for target in (f"127.0.0.1:{port}", "unix:e.sock"):
            answer = await talk(running.client.tunnel(target), data)
            assert hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()


async def test_each_side_may_end_first(tcp: bool) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(len(await reader.read())).encode())  # answers only after the end of what it gets
        writer.close()

    async def dismiss(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()  # ends, but goes on reading
        received.set_result(await reader.read())
        writer.close()

    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with agent(tcp=tcp) as running, serving(count) as counter, serving(dismiss) as dismisser:
        assert await talk(running.client.tunnel(f"127.0.0.1:{counter}"), b"x" * 1000) == b"1000"
        sock = await connect(running.client.tunnel(f"127.0.0.1:{dismisser}"))
        reader, writer = await asyncio.open_connection(sock=sock)
        assert await reader.read() == b"bye"
        writer.write(b"late")
        writer.write_eof()
        assert await asyncio.wait_for(received, 120) == b"late"
        writer.close()


async def test_nothing_is_lost_of_what_the_target_says_first(tcp: bool) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\r\n\r\nwelcome\r\n\r\n" * 1000)
        writer.close()

    async with agent(tcp=tcp) as running, serving(greet) as port:
        for _ in range(20):
            assert await talk(running.client.tunnel(f"127.0.0.1:{port}"), b"") == b"\r\n\r\nwelcome\r\n\r\n" * 1000


async def test_a_reader_that_stops_holds_the_sender_back(tcp: bool) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=0)
        while sent < 200 << 20:
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1 << 20
        writer.close()

    async with agent(tcp=tcp) as running, serving(pour) as port:
        sock = await connect(running.client.tunnel(f"127.0.0.1:{port}"))
        await asyncio.sleep(0.3)
        assert sent < 50 << 20
        before = sent
        await asyncio.sleep(0.2)
        assert sent == before
        sock.close()


async def test_many_tunnels_at_once(tcp: bool) -> None:
    async with agent(tcp=tcp) as running, serving(echo) as port:
        before = len(descriptors())
        route = running.client.tunnel(f"127.0.0.1:{port}")
        data = [os.urandom(20000) for _ in range(100)]
        assert await asyncio.gather(*(talk(route, piece) for piece in data)) == data
        await eventually(lambda: len(descriptors()) <= before, "every descriptor is closed")
        # The agent keeps none of them either.
        for _ in range(500):
            held = len(os.listdir(f"/proc/{running.process.pid}/fd"))
            if held <= 12:
                break
            await asyncio.sleep(0.01)
        assert held <= 12


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "0.0.0.0", "::"])
async def test_a_port_is_reached_at_whatever_address_it_listens(tcp: bool, host: str) -> None:
    """Some services listen on the container's own address only, or in the other family."""
    async with agent(tcp=tcp) as running:
        server = await asyncio.start_server(echo, host, 0)
        port = server.sockets[0].getsockname()[1]
        try:
            assert await talk(running.client.tunnel(f"127.0.0.1:{port}"), b"hi") == b"hi"
        finally:
            server.close()


async def test_what_somebody_has_started_is_known_by_its_port_and_name(tmp_path: Path) -> None:
    app = tmp_path / "my app.py"
    app.write_text(
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    async with agent() as running:
        async with await running.client.exec([sys.executable, "-u", str(app)]) as session:
            _, line = await anext(aiter(session))
            assert ListeningPort(int(line), "my app.py") in await running.client.ports()
        service = await running.client.services.start("app-1", command=ON_PORT, base_url="/x/")
        assert service.port not in [one.port for one in await running.client.ports()]


async def test_a_tunnel_that_cannot_be_opened_says_why(tcp: bool) -> None:
    async with agent(tcp=tcp) as running:
        before = len(descriptors())
        client = running.client
        for target in (f"127.0.0.1:{free_port()}", "unix:none.sock"):
            with pytest.raises(ConnectionRefusedError, match=target):
                await connect(client.tunnel(target))
        for target in ("10.0.0.1:80", "unix:../x.sock", "localhost:80"):
            with pytest.raises(AgentUnreachable):
                await connect(client.tunnel(target))
        with pytest.raises(AgentUnreachable) as caught:
            await connect(TunnelRoute(client.route, "wrong", "127.0.0.1:80"))
        assert "token" in caught.value.hint
        await eventually(lambda: len(descriptors()) == before, "every descriptor is closed")
        assert running.stop() == 0
        with pytest.raises(AgentUnreachable):
            await connect(client.tunnel("127.0.0.1:80"))


async def test_something_that_is_no_agent_is_not_believed(folder: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop())
        writer.close()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    answers = [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK" + b"x" * 100000]
    async with serving(babble, str(folder / "b.sock")), serving(silence, str(folder / "s.sock")):
        before = len(descriptors())
        while answers:
            with pytest.raises(AgentUnreachable):
                await connect(TunnelRoute(UnixRoute(str(folder / "b.sock")), "token", "127.0.0.1:80"))
        with pytest.raises(AgentUnreachable):
            await connect(TunnelRoute(UnixRoute(str(folder / "s.sock")), "token", "127.0.0.1:80"), timeout=0.1)
        waiting = asyncio.create_task(connect(TunnelRoute(UnixRoute(str(folder / "s.sock")), "token", "x")))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: len(descriptors()) <= before, "every descriptor is closed")


async def test_only_a_stream_socket_is_accepted_from_an_agent(folder: Path) -> None:
    """A container is not trusted to hand over anything else, such as a file or a datagram socket."""
    path = str(folder / "x.sock")
    route = TunnelRoute(UnixRoute(path), "token", "127.0.0.1:80")
    with socket.socket(socket.AF_UNIX) as listener, (folder / "file").open("wb") as file:
        listener.bind(path)
        listener.listen()
        before = len(descriptors())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            for wrong in ([file.fileno()], [datagram.fileno()], [file.fileno(), datagram.fileno()]):
                waiting = asyncio.create_task(connect(route))
                await asyncio.sleep(0.05)
                accepted = listener.accept()[0]
                socket.send_fds(accepted, [b"HTTP/1.1 200 Connected\r\n\r\n"], wrong)
                with pytest.raises(AgentUnreachable):
                    await asyncio.wait_for(waiting, 120)
                accepted.close()
        await eventually(lambda: len(descriptors()) == before, "every descriptor is closed")


async def test_a_cancel_is_not_lost_to_work_that_ends_in_the_same_turn():
    """`asyncio.wait_for` of Python 3.11 gives the result here, and a start that was cancelled would go on."""

    async def work() -> str:
        return "done"

    async def cancelled_first() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await within(5, work())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(cancelled_first())


async def test_work_that_takes_too_long_is_cancelled_before_its_caller_goes_on():
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert ended.is_set()
