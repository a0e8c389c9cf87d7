"""HTTP/1.1 messages as bytes: parsing an answer's head, and finding where its body ends. Pure; RFC 9112 throughout.

The proxy speaks to services through this instead of a general HTTP client: it forwards heads and bodies without looking
into them, and needs to know exactly how far an exchange got, for retries and for taking a socket over after a 101.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Header = tuple[str, str]

MAX_HEAD = 256 * 1024
"""Bytes of an answer's head, or of the trailers of a chunked body. Large cookies and policies stay far below it."""

MAX_CHUNK_LINE = 8 * 1024
"""Bytes of a chunk-size line with its extensions."""

_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: (.*))?", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\r\n\0]")


class ProtocolError(Exception):
    """The peer did not speak HTTP/1.1; the message says what it sent instead."""


@dataclass(frozen=True)
class Head:
    """The head of an answer. Names are as the service wrote them, values are decoded as latin-1."""

    status: int
    reason: str
    headers: Sequence[Header]
    keep_alive: bool

    def values(self, name: str) -> list[str]:
        """All values of the field, whose name is given in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


def parse_head(data: bytes) -> Head:
    """Parse a head without its final empty line. Raises ProtocolError."""
    first, *lines = data.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise ProtocolError(f"the answer begins with {first[:60]!r}")
    minor, status, reason = match.groups()
    headers: list[Header] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and headers:  # obs-fold, RFC 9112 5.2
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip().decode('latin-1')}")
            continue
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or _TOKEN.fullmatch(raw_name) is None or _FORBIDDEN_IN_VALUE.search(raw_value):
            raise ProtocolError(f"the answer has a malformed header line {line[:60]!r}")
        headers.append((raw_name.decode("ascii"), raw_value.strip(b" \t").decode("latin-1")))
    connection = ",".join(value for name, value in headers if name.lower() == "connection").lower()
    keep_alive = minor == b"1" and "close" not in connection
    return Head(int(status), (reason or b"").decode("latin-1"), headers, keep_alive)


def request_head(method: str, target: str, headers: Iterable[Header]) -> bytes:
    """The bytes of a request's head. Raises ValueError if a value would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header field holds a line break")
    return text.encode("latin-1")


def response_head(status: int, reason: str, headers: Iterable[Header]) -> bytes:
    """The bytes of an answer's head."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class Body(Protocol):
    """Finds the end of a body in a stream of bytes."""

    done: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The pieces of the body in `data`, and what lies behind its end. Raises ProtocolError."""

    def end(self) -> bool:
        """The stream has ended: is the body complete?"""


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
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0:
                self._tail = data[at:]
                if len(self._tail) > (MAX_HEAD if self._expects == "trailer" else MAX_CHUNK_LINE):
                    raise ProtocolError("a chunk of the answer begins with a line that is too long")
                break
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
                raise ProtocolError("a chunk of the answer is longer than it said")
            self._expects = "size"
        elif self._expects == "size":
            size = line.partition(b";")[0].strip(b" \t")
            if _HEX.fullmatch(size) is None:
                raise ProtocolError(f"a chunk of the answer has the size {size[:20]!r}")
            self._left = int(size, 16)
            self._expects = "end" if self._left else "trailer"
        else:
            self._trailers += len(line)
            if self._trailers > MAX_HEAD:
                raise ProtocolError("the trailers of the answer are too long")
            self.done = not line


def body_of(head: Head, method: str) -> Body:
    """How the body of this answer to `method` is delimited (RFC 9112 6.3). Raises ProtocolError."""
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
    if lengths or not (length.isascii() and length.isdigit()):
        raise ProtocolError("the answer has no usable Content-Length")
    return LengthBody(int(length))
