"""WebSocket echo through the proxy against jupyter-server-proxy, in one Jupyter server.

Targets: 100 B round trips at >= 1.4x the rate, 100 B messages pipelined at >= 5x, 1 MB round trips at >= 20x; a
message of 64 MB passes. Payloads are random. The client offers no compression; the echo server has its library's
defaults and so compresses with whoever offers it, which jupyter-server-proxy does. Without that the 1 MB case is
closer, and shown, too.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.side_by_side import OURS, PEER, STOCK, Doors, PeakMemory, doors, now, verdict

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
MB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def message(size: int) -> bytes:
    """A binary frame as a client sends it. The mask is zero, which saves this process the work of masking."""
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0x80 | 127, size)
    return head + bytes(4) + os.urandom(size)


def echoed(size: int) -> int:
    """Bytes of the frame that comes back for it."""
    return size + (2 if size < 126 else 4 if size < 1 << 16 else 10)


class Socket:
    """A WebSocket that counts bytes: blocking calls, so that the measuring costs next to nothing."""

    def __init__(self, setup: Doors, door: str, service: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", setup.server.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(MB)
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
        )
        self.sock.sendall(setup.head(setup.path(door, service, "ws"), *upgrade))
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("no answer to the handshake")
            head += data
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.decode("latin-1"))

    def exchange(self, data: bytes, back: int) -> None:
        """Send, and wait until this many bytes are back. Raises OSError."""
        self.sock.sendall(data)
        self.count(back)

    def count(self, back: int) -> None:
        while back > 0:
            size = self.sock.recv_into(self._buffer)
            if not size:
                raise ConnectionError("the server closed the connection")
            back -= size


def round_trips(setup: Doors, door: str, service: str, size: int, count: int) -> float:
    """Round trips per second."""
    ws = Socket(setup, door, service)
    frame, back = message(size), echoed(size)
    ws.exchange(frame, back)
    began = now()
    for _ in range(count):
        ws.exchange(frame, back)
    rate = count / (now() - began)
    ws.sock.close()
    return rate


def pipelined(setup: Doors, door: str, service: str, size: int, count: int) -> float:
    """Messages per second, all sent without waiting."""
    ws = Socket(setup, door, service)
    began = now()
    sender = threading.Thread(target=ws.sock.sendall, args=(message(size) * count,))
    sender.start()
    ws.count(echoed(size) * count)
    rate = count / (now() - began)
    sender.join()
    ws.sock.close()
    return rate


def compare(setup: Doors, title: str, target: float, measure: Callable[[str], float]) -> None:
    """Measure all sides in turn, print the medians; no verdict for a target of 0."""
    rates: dict[str, list[float]] = {OURS: [], PEER: [], STOCK: []}
    for _ in range(ROUNDS):
        for side, of_side in rates.items():
            of_side.append(measure(setup.enter(side)))
    setup.enter(OURS)
    ours = statistics.median(rates[OURS])
    print(f"WebSocket, {title}, {ROUNDS} rounds")
    print(f"  {OURS:28}{ours:9.0f}/s")
    for side in (PEER, STOCK):
        ratio = ours / statistics.median(rates[side])
        said = f"target {verdict(ratio, target, at_least=True)}" if target else ""
        print(f"  {side:28}{statistics.median(rates[side]):9.0f}/s   {ratio:6.2f}x  {said}")


def run() -> None:
    def few(door: str) -> int:
        return 60 if door == OURS else 10

    with doors() as setup:
        compare(setup, "100 B round trips", 1.4, lambda door: round_trips(setup, door, "deflate", 100, 2000))
        compare(setup, "100 B pipelined", 5, lambda door: pipelined(setup, door, "deflate", 100, 20000))
        compare(setup, "1 MB round trips", 20, lambda door: round_trips(setup, door, "deflate", MB, few(door)))
        title = "1 MB round trips, echo server without compression"
        compare(setup, title, 0, lambda door: round_trips(setup, door, "echo", MB, 60))
        for door in (OURS, PEER):
            with PeakMemory(setup.server) as memory:
                began = now()
                try:
                    ws = Socket(setup, door, "deflate")
                    ws.exchange(message(64 * MB), echoed(64 * MB))
                    ws.sock.close()
                    said = f"passes in {now() - began:.2f} s"
                except OSError as error:
                    said = f"fails ({error})"
            print(f"64 MB message, {door}: {said}, server memory {memory.growth:+.1f} MB")


def main() -> None:
    """Print the figures and their ratios."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    run()


if __name__ == "__main__":
    main()
