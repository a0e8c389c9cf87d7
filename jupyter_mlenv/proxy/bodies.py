"""Bodies of HTTP/1.1 messages: where one ends in a stream of bytes. Pure; RFC 9112 6 and 7."""

from __future__ import annotations

import re
from typing import Protocol

from .http1 import LENGTH, MAX_HEAD_BYTES, Head, ProtocolError, Request

MAX_CHUNK_LINE_BYTES = 8 * 1024
"""Bytes of a chunk-size line with its extensions."""

CHUNK_LINES_PER_TURN = 256
"""Lines of chunk framing that are looked at in one turn of the event loop, about 0.3 ms."""

_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")


class Body(Protocol):
    """The end of a body in a stream of bytes, found as they arrive."""

    done: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the pieces of the body in `data`, and what was not looked at. Raises ProtocolError.

        What was not looked at lies behind the body's end if it is `done`; if not, it is for the next turn of the loop.
        """

    def end(self) -> bool:
        """Return whether the body is complete now that the stream has ended."""


class LengthBody:
    """A body of known length, in bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        piece = data[: self._left]
        self._left -= len(piece)
        self.done = self._left == 0
        return ([piece] if piece else []), data[len(piece) :]

    def end(self) -> bool:
        return self.done


class CloseBody:
    """A body that ends where the connection ends (RFC 9112 6.3, rule 8)."""

    done = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        return ([data] if data else []), b""

    def end(self) -> bool:
        self.done = True
        return True


class ChunkedBody:
    """A chunked body, decoded. Extensions and trailers are dropped."""

    def __init__(self) -> None:
        self.done = False
        self._tail = b""
        self._left = 0
        self._expects = "size"  # or "end" (of a chunk), "trailer"
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        if self._tail:
            data, self._tail = self._tail + data, b""
        pieces: list[bytes] = []
        at = 0
        lines = CHUNK_LINES_PER_TURN
        while at < len(data):
            if not lines:
                return pieces, data[at:]
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0:
                self._tail = data[at:]
                if len(self._tail) > (MAX_HEAD_BYTES if self._expects == "trailer" else MAX_CHUNK_LINE_BYTES):
                    raise ProtocolError("a chunk begins with a line that is too long")
                break
            lines -= 1
            self._line(data[at:stop])
            at = stop + 2
            if self.done:
                return pieces, data[at:]
        return pieces, b""

    def end(self) -> bool:
        return self.done

    def _line(self, line: bytes) -> None:
        if self._expects == "end":
            if line:
                raise ProtocolError("a chunk is longer than it said")
            self._expects = "size"
        elif self._expects == "size":
            size = line.partition(b";")[0].strip(b" \t")
            if _HEX.fullmatch(size) is None:
                raise ProtocolError(f"a chunk has the size {size[:20]!r}")
            self._left = int(size, 16)
            self._expects = "end" if self._left else "trailer"
        else:
            self._trailers += len(line)
            if self._trailers > MAX_HEAD_BYTES:
                raise ProtocolError("the trailers are too long")
            self.done = not line


def body_of(head: Head, method: str) -> Body:
    """Return the body of this answer to `method`, as it is delimited (RFC 9112 6.3). Raises ProtocolError."""
    if method == "HEAD" or head.status in (204, 304):
        return LengthBody(0)
    codings = head.values("transfer-encoding")
    if codings:
        if [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise ProtocolError(f"the answer has the transfer coding {', '.join(codings)[:60]!r}")
        return ChunkedBody()
    lengths = {part.strip() for value in head.values("content-length") for part in value.split(",")}
    if not lengths:
        return CloseBody()
    length = lengths.pop()
    if lengths or LENGTH.fullmatch(length) is None:
        raise ProtocolError("the answer has no usable Content-Length")
    return LengthBody(int(length))


def body_of_request(request: Request) -> Body:
    """Return the body of this request, as it is delimited; empty without a length (RFC 9112 6.3)."""
    return ChunkedBody() if request.chunked() else LengthBody(int(request.get("content-length", "0")))
