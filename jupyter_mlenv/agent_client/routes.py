"""Routes to sockets and ports of environments.

A route is plain data; `connect` turns it into a connected, non-blocking socket. The proxy, the agent's client and
kernels know no other way to a container, so none of them depends on where it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import AgentUnreachable
from . import unix_sockets

T = TypeVar("T")

KEEP_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence before the first question to the other side, seconds between questions, how many (tcp(7))."""

MAX_HEAD_BYTES = 65536
"""Bytes of an answer's head."""


@dataclass(frozen=True)
class UnixRoute:
    """A unix socket of ours in this machine's file system (no link to one); the path may be longer than 107 bytes."""

    path: str


@dataclass(frozen=True)
class TcpRoute:
    """A TCP port; `host` is an address or a name."""

    host: str
    port: int


@dataclass(frozen=True)
class TunnelRoute:
    """Through the agent to `target`: `127.0.0.1:<port>` or `unix:<name>.sock`, as the agent sees them.

    Where the agent is reached by a unix socket it hands over the connected socket itself (SCM_RIGHTS), so that the
    tunnel costs nothing once it is there; else its bytes pass through the agent.
    """

    agent: UnixRoute | TcpRoute
    token: str
    target: str


Route = UnixRoute | TcpRoute | TunnelRoute


async def connect(route: Route, timeout: float = 10.0) -> socket.socket:
    """A connected, non-blocking stream socket, TCP_NODELAY set where it is TCP. The caller closes it.

    Raises, within `timeout` seconds:

    * `ConnectionRefusedError`, `FileNotFoundError` and other `OSError`s: nothing listens there (any more). For a
      tunnel, a target that could not be connected to is a `ConnectionRefusedError`.
    * `TimeoutError` (an `OSError` too): no answer.
    * `AgentUnreachable`: only for a tunnel; its agent could not be reached or did not answer as ours.
    """
    if isinstance(route, UnixRoute):
        with contextlib.suppress(BlockingIOError):
            return unix_sockets.connect(route.path)  # at once, without a task and a timer
    try:
        return await within(timeout, _connect(route))
    except TimeoutError:
        if isinstance(route, TunnelRoute):
            raise AgentUnreachable(
                f"The agent opened no tunnel to {route.target} within {timeout:g} s.",
                hint="Restart the environment.",
            ) from None
        raise


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or `TimeoutError` after `seconds`.

    `asyncio.wait_for` loses a cancel to work that ends in the same turn of the loop (until Python 3.12): the caller
    then goes on as if nobody had cancelled it.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise TimeoutError(f"No answer within {seconds:g} s.")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # where the caller has gone, nobody else looks at it


async def _connect(route: Route, *, passing: bool = False) -> socket.socket:
    if isinstance(route, UnixRoute):
        return await _connect_unix(route.path, passing)
    if isinstance(route, TcpRoute):
        return await _connect_tcp(route.host, route.port)
    return await _connect_tunnel(route)


async def _connect_unix(path: str, passing: bool) -> socket.socket:
    # With a full backlog, unlike with TCP, nothing is under way, so the event loop's `sock_connect`, which waits for
    # the socket to become writable, would call it connected.
    pause = 0.001
    while True:
        try:
            return unix_sockets.connect(path, passing=passing)
        except BlockingIOError:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)


def _keep_alive(sock: socket.socket) -> None:
    """Notice another side that has gone without a word: some connections are silent for as long as a kernel lives."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):  # where it is not, two hours
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _connect_tcp(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionRefusedError(f"{host} has no address.")
    for family, address in await _addresses(host, port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Family and address, without asking a resolver (which takes a thread) where `host` is an address already."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(info[0], (str(info[4][0]), port)) for info in found]


def unreachable(error: OSError) -> AgentUnreachable:
    """Return the error of a route to an agent that failed."""
    return AgentUnreachable(
        f"The environment's agent does not answer: {error}.",
        hint="Look at `jupyter mlenv logs`, then restart the environment.",
    )


async def _connect_tunnel(route: TunnelRoute) -> socket.socket:
    try:
        sock = await _connect(route.agent, passing=True)
    except OSError as error:
        raise unreachable(error) from error
    try:
        request = (
            f"CONNECT {route.target} HTTP/1.1\r\nAuthorization: Bearer {route.token}\r\nX-Mlenv-Pass: socket\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_sendall(sock, request.encode())
        head, numbers = await _read_head(sock)
    except OSError as error:
        sock.close()
        raise AgentUnreachable(
            f"The environment's agent broke the connection off: {error}.", hint="Restart the environment."
        ) from error
    except BaseException:
        sock.close()
        raise
    if head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n"):
        if not numbers:
            return sock
        sock.close()
        passed = unix_sockets.passed(numbers)
        if passed is None:
            raise AgentUnreachable(
                f"The agent passed something else than one connection to {route.target}.",
                hint="Restart the environment.",
            )
        return passed
    sock.close()
    unix_sockets.drop(numbers)
    if head.startswith(b"HTTP/1.1 502 "):
        raise ConnectionRefusedError(f"Nothing listens on {route.target} in the environment.")
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    hint = "The token has changed: restart the environment." if b" 401 " in head[:16] else "Restart the environment."
    raise AgentUnreachable(f"The agent opened no tunnel to {route.target}: {status or 'no answer'}.", hint=hint)


async def _read_head(sock: socket.socket) -> tuple[bytes, list[int]]:
    """An answer's head, of which not one byte more is taken, and the descriptors that came with it."""
    head, numbers = b"", list[int]()
    try:
        while not head.endswith(b"\r\n\r\n") and len(head) < MAX_HEAD_BYTES and len(numbers) < 2:
            await _readable(sock)
            try:
                # What follows the head belongs to the caller: look first, then take as much as the head's.
                ahead = sock.recv(4096, socket.MSG_PEEK)
                end = (head + ahead).find(b"\r\n\r\n")
                size = len(ahead) if end < 0 else end + 4 - len(head)
                data, rights, _, _ = sock.recvmsg(
                    max(size, 1), unix_sockets.RIGHTS, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                continue
            numbers += unix_sockets.descriptors(rights)
            if not data:
                break
            head += data
    except BaseException:
        unix_sockets.drop(numbers)
        raise
    return head, numbers


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)
