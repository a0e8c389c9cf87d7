"""An agent that means harm: a unix socket that answers as a container's code would that wants to hurt the host.

Each attack is a function of the accepted connection, after the request's head has been read. They run in threads, so
that one that blocks blocks nobody else.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

Attack = Callable[[socket.socket, bytes], None]

OK = b"HTTP/1.1 200 Connected\r\n\r\n"

TIMEOUT_SECONDS = 20
"""Seconds for which an attack would have the host wait."""


@contextmanager
def hostile(path: str, attack: Attack) -> Iterator[None]:
    """Serve the attack on a unix socket at `path`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    ended = threading.Event()
    clients: list[socket.socket] = []

    def serve() -> None:
        while not ended.is_set():
            try:
                client = listener.accept()[0]
            except OSError:
                return
            clients.append(client)
            threading.Thread(target=one, args=[client], daemon=True).start()

    def one(client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            attack(client, head)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        for sock in (listener, *clients):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def says(data: bytes) -> Attack:
    """This answer, whatever is asked, and the end."""
    return lambda client, head: client.sendall(data)


def endless(start: bytes, piece: bytes) -> Attack:
    """This, then that again and again until the host has had enough."""

    def attack(client: socket.socket, head: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(piece)

    return attack


def json_answer(body: bytes) -> bytes:
    """A whole answer of the agent with this body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def pass_along(client: socket.socket, data: bytes, numbers: Sequence[int]) -> None:
    """Send bytes with descriptors."""
    client.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])


def one_per_byte(client: socket.socket, head: bytes) -> None:
    """A descriptor with every byte of a long head."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        for byte in OK[:-2] + b"X: " + b"x" * 2000:
            pass_along(client, bytes([byte]), [sock.fileno()])


def many(client: socket.socket, head: bytes) -> None:
    """As many descriptors as one message can carry."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        pass_along(client, OK, [sock.fileno()] * 253)


def listening(client: socket.socket, head: bytes) -> None:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        pass_along(client, OK, [server.fileno()])


def unconnected(client: socket.socket, head: bytes) -> None:
    """A stream socket without a peer."""
    with socket.socket() as sock:
        pass_along(client, OK, [sock.fileno()])


def datagram(client: socket.socket, head: bytes) -> None:
    """A connected datagram socket."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        pass_along(client, OK, [sock.fileno()])


def packets(client: socket.socket, head: bytes) -> None:
    """One of a pair of sequenced packets."""
    left, right = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with left, right:
        pass_along(client, OK, [left.fileno()])


def a_file(client: socket.socket, head: bytes) -> None:
    """A directory."""
    number = os.open("/", os.O_RDONLY)
    pass_along(client, OK, [number])
    os.close(number)


class Bomb:
    """A TCP connection whose close waits for `TIMEOUT_SECONDS`: nobody reads what it has to send, and it lingers."""

    def __init__(self) -> None:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        self.sock = socket.create_connection(server.getsockname())
        self.peer = server.accept()[0]
        server.close()
        self.sock.setblocking(False)
        self.fill()
        self.linger()

    def fill(self) -> None:
        """Until it takes no more."""
        with suppress(BlockingIOError):
            while True:
                self.sock.send(bytes(65536))

    def linger(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, TIMEOUT_SECONDS))

    def defuse(self) -> None:
        """Whoever waits for it goes on: its peer resets the connection."""
        with suppress(OSError):
            self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        self.sock.close()
