"""Our reading of services' answers against httptools (llhttp, in C) and h11: why the proxy has a parser of its own.

The same bytes in the same pieces, in one process without a socket; each side has to give the head with its fields as
the service wrote them and the pieces of the body, which is all that the proxy needs. No target.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h11
import httptools

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jupyter_mlenv.proxy.answer import Answer

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
SECONDS_PER_ROUND = 0.1
FIELDS = (
    b"Server: TornadoServer/6.5\r\nContent-Type: application/json\r\nDate: Thu, 26 Nov 2026 10:00:00 GMT\r\n"
    b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: frame-ancestors 'self'; report-uri /api/csp\r\n"
    b'Etag: "9a1f6f2d5f7c1d8e"\r\nCache-Control: no-cache\r\n'
)
Found = tuple[int, int, int]
"""Status, number of fields, bytes of the body: the same on each side, or the comparison is none."""


def with_length(size: int, piece: int) -> list[bytes]:
    """Return an answer with a `Content-Length`; the body arrives `piece` bytes at a time."""
    head = b"HTTP/1.1 200 OK\r\n" + FIELDS + b"Content-Length: %d\r\n\r\n" % size
    body = b"x" * size
    pieces = [body[at : at + piece] for at in range(0, size, piece)]
    return [head + pieces[0], *pieces[1:]]


def chunked(chunks: int, size: int, together: int) -> list[bytes]:
    """Return a chunked answer, `together` chunks arriving at a time."""
    head = b"HTTP/1.1 200 OK\r\n" + FIELDS + b"Transfer-Encoding: chunked\r\n\r\n"
    one = b"%x\r\n" % size + b"x" * size + b"\r\n"
    return [head, *[one * together] * (chunks // together), b"0\r\n\r\n"]


ANSWERS = {
    "1 KB, one piece": with_length(1024, 1024),
    "1 MB, pieces of 64 KB": with_length(1 << 20, 1 << 16),
    "chunked, 16 x 4 KB": chunked(16, 4096, 4),
    "chunked, 1000 events of 40 B": chunked(1000, 40, 10),
}


def ours(pieces: Sequence[bytes]) -> Found:
    """Read it as the proxy does."""
    answer, size = Answer("GET"), 0
    for piece in pieces:
        answer.feed(piece)
        while answer.interrupted:
            answer.go_on()
        if answer.has_pieces:
            size += len(answer.take())
    assert answer.done
    assert answer.head is not None
    return answer.head.status, len(answer.head.headers), size


class Collector:
    """What httptools calls: the least that gives the proxy what it needs."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.pieces: list[bytes] = []
        self.reason, self.done = b"", False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.done = True


def by_httptools(pieces: Sequence[bytes]) -> Found:
    """Read it with llhttp."""
    collector, size = Collector(), 0
    parser = httptools.HttpResponseParser(collector)
    for piece in pieces:
        parser.feed_data(piece)
        if collector.pieces:
            size += len(b"".join(collector.pieces))
            collector.pieces.clear()
    assert collector.done
    return parser.get_status_code(), len(collector.headers), size


def by_h11(pieces: Sequence[bytes]) -> Found:
    """Read it with h11, which has to know the request."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 18)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    status = fields = size = 0
    for piece in pieces:
        connection.receive_data(piece)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                status, fields = event.status_code, len(event.headers.raw_items())
            elif isinstance(event, h11.Data):
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, fields, size
    raise AssertionError("the answer has no end")


SIDES: dict[str, Callable[[Sequence[bytes]], Found]] = {"ours": ours, "httptools": by_httptools, "h11": by_h11}


def seconds_each(side: Callable[[Sequence[bytes]], Found], pieces: Sequence[bytes], times: int) -> float:
    """Return the processor time of one answer."""
    began = time.process_time()
    for _ in range(times):
        side(pieces)
    return (time.process_time() - began) / times


def main() -> None:
    """Print the median of each side, in microseconds of processor time an answer."""
    print(f"Reading an answer, processor time, medians of {ROUNDS} interleaved rounds")
    for name, pieces in ANSWERS.items():
        assert len({side(pieces) for side in SIDES.values()}) == 1, name
        times = {side: max(1, int(SECONDS_PER_ROUND / seconds_each(read, pieces, 3))) for side, read in SIDES.items()}
        took: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(ROUNDS):
            for side, read in SIDES.items():
                took[side].append(seconds_each(read, pieces, times[side]))
        median = {side: statistics.median(some) * 1e6 for side, some in took.items()}
        print(f"  {name:30} " + ", ".join(f"{side} {value:.1f} us" for side, value in median.items()))


if __name__ == "__main__":
    main()
