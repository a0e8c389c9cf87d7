"""Each kernel has a ZeroMQ context of its own, which ends without anybody waiting for it."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from jupyter_client.manager import KernelManager

from jupyter_mlenv.kernels import connection_file
from tests.support.hostileagent import Bomb, pass_along
from tests.support.waiting import eventually, wait_until

GREETING = b"\xff\0\0\0\0\0\0\0\x01"
"""What ZeroMQ begins with."""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="mlenv-") as folder:
        yield Path(folder)


@pytest.fixture
async def shared() -> AsyncIterator[zmq.asyncio.Context]:
    """What a Jupyter server gives all its managers."""
    context = zmq.asyncio.Context()
    yield context
    context.destroy(linger=0)


def manager(folder: Path, name: str, context: Any = None) -> Any:
    """One that is about to connect to a kernel with the sockets `<folder>/<name>-<n>`."""
    given = {"context": context} if context else {}
    made = AsyncIOLoopKernelManager(connection_file=str(folder / f"{name}.json"), **given)
    connection_file.new(made, str(folder / name), "")
    return made


@contextmanager
def echo(path: str) -> Iterator[None]:
    """A kernel's heartbeat, from a context of its own."""
    with zmq.Context() as context, context.socket(zmq.REP) as sock:
        sock.bind(f"ipc://{path}")
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                if sock.poll(50):
                    sock.send(sock.recv())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class Holder:
    """A hostile kernel: whoever receives from its socket closes what it has sent along, which takes its time."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.client = socket.socket()
        self.bombs: list[Bomb] = []

    def hold(self) -> None:
        """Returns when who has connected is held up; whoever closes last is, so that can take some tries."""
        self.client = self.listener.accept()[0]
        for byte in GREETING:
            self.bombs.append(bomb := Bomb())
            throwing = threading.Thread(target=self._throw, args=[bomb, byte], daemon=True)
            throwing.start()
            throwing.join(1)
            if not throwing.is_alive():
                break
            bomb.defuse()
        self.client.sendall(b"\0")
        assert self.unread()

    def _throw(self, bomb: Bomb, byte: int) -> None:
        pass_along(self.client, bytes([byte]), [bomb.sock.fileno()])
        bomb.sock.close()
        wait_until(lambda: not self.unread(), "it has arrived")

    def unread(self) -> int:
        """Bytes that are on their way; some are as long as who is to receive them is held up."""
        return int(struct.unpack("i", fcntl.ioctl(self.client, termios.TIOCOUTQ, b"\0" * 4))[0])

    def release(self) -> None:
        for bomb in self.bombs:
            bomb.defuse()

    def close(self) -> None:
        self.release()
        self.listener.close()
        self.client.close()


@pytest.fixture
async def held(short: Path, shared: zmq.asyncio.Context) -> AsyncIterator[tuple[Any, Any, Holder]]:
    """A manager whose kernel holds up who receives from it, a stream to that kernel, and the kernel."""
    victim = manager(short, "a", shared)
    holder = Holder(f"{short}/a-{victim.iopub_port}")
    stream = victim.connect_iopub()
    try:
        await asyncio.to_thread(holder.hold)
        yield victim, stream, holder
    finally:
        stream.close()
        holder.close()
        connection_file.over(victim)


async def test_a_kernel_that_holds_up_who_receives_from_it_holds_up_no_other(
    held: tuple[Any, Any, Holder], short: Path, shared: zmq.asyncio.Context
) -> None:
    other = manager(short, "b", shared)
    answers: list[Any] = []
    with echo(f"{short}/b-{other.hb_port}"):
        stream = other.connect_hb()
        stream.on_recv(answers.append)
        stream.send(b"ping")
        await eventually(lambda: answers, "another kernel of the same server answers")
        stream.close()
    assert answers == [[b"ping"]]
    assert held[2].unread(), "the hostile one holds up its own thread all the while"
    connection_file.over(other)
    await eventually(lambda: other.context.closed, "the other one's context has ended")


async def test_the_end_of_a_kernel_that_holds_somebody_up_is_not_waited_for(held: tuple[Any, Any, Holder]) -> None:
    victim, stream, holder = held
    stream.close()
    connection_file.over(victim)
    assert not victim.context.closed
    assert holder.unread()
    holder.release()
    await eventually(lambda: victim.context.closed, "it ends when it can")


async def test_sockets_of_a_kernel_that_is_gone_are_closed_by_who_uses_them(short: Path) -> None:
    """As a browser's, which finds out later: an error in each would be one without end."""
    kernel = manager(short, "a")
    stream = kernel.connect_hb()
    connection_file.over(kernel)
    answers: list[Any] = []
    with echo(f"{short}/a-{kernel.hb_port}"):
        stream.on_recv(answers.append)
        stream.send(b"ping")
        await eventually(lambda: answers, "the socket works")
    assert not kernel.context.closed
    stream.close()
    await eventually(lambda: kernel.context.closed, "it has ended with its last socket")
    connection_file.new(kernel, str(short / "a"), "")
    assert not kernel.context.closed, "a manager can start a kernel again"


async def test_a_restart_keeps_the_context(short: Path) -> None:
    kernel = manager(short, "a")
    first = kernel.context
    connection_file.new(kernel, str(short / "a"), "")
    assert kernel.context is first
    assert isinstance(first, zmq.asyncio.Context)
    connection_file.over(kernel)


def test_a_manager_without_asyncio_has_sockets_without(short: Path) -> None:
    kernel = KernelManager(connection_file=str(short / "a.json"))
    connection_file.new(kernel, str(short / "a"), "")
    with kernel.connect_shell() as sock:
        assert type(sock) is zmq.Socket
    connection_file.over(kernel)


def usage() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["over", "forgotten", "forgotten with a socket"])
async def test_nothing_is_left_of_a_kernel(how: str, short: Path, shared: zmq.asyncio.Context) -> None:
    def one(name: str) -> None:
        kernel = manager(short, name, shared)
        kernel._connect_control_socket()
        stream = kernel.connect_iopub()
        if how != "forgotten with a socket":
            stream.close()
        if how == "over":
            kernel._close_control_socket()
            connection_file.over(kernel)
        stream.close()

    one("first")
    gc.collect()
    await eventually(lambda: not ended(), "the first has ended")
    before = usage()
    for number in range(30):
        one(f"k{number}")
    gc.collect()
    await eventually(lambda: usage() <= before and not ended(), "threads and descriptors are as before")


def ended() -> list[str]:
    """The threads in which contexts end."""
    return [thread.name for thread in threading.enumerate() if thread.name == "mlenv-zmq-end"]


EXITS = """
import sys
from jupyter_client.manager import AsyncKernelManager
from jupyter_mlenv.kernels import connection_file
kept = AsyncKernelManager(connection_file=sys.argv[1] + "/a.json")
connection_file.new(kept, sys.argv[1] + "/a", "")
kept._connect_control_socket()
"""


def test_the_end_of_the_process_waits_for_none(short: Path) -> None:
    """Python lets go of what is there when no thread can start any more."""
    command = [sys.executable, "-c", EXITS, str(short)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
