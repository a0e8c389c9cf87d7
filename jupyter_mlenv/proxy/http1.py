"""Heads of HTTP/1.1 messages as bytes: reading one, writing one. Pure; RFC 9112 throughout.

The proxy speaks to services through this instead of a general HTTP client: it forwards heads and bodies without looking
into them, and needs to know exactly how far an exchange got, for retries and for taking a socket over after a 101.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

Header = tuple[str, str]

MAX_HEAD_BYTES = 256 * 1024
"""Bytes of an answer's head, or of the trailers of a chunked body. Large cookies and policies stay far below it."""

MAX_HEAD_LINES = 1000
"""Lines of a head: parsing them must not hold the event loop. Node takes 2,000, Apache 100."""

MAX_REASON_BYTES = 256
"""Bytes of an answer's reason phrase, which nobody needs."""

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_REQUEST = re.compile(r"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1")
_FOLD = re.compile(rb"\r\n[\t ]+")  # obs-fold, RFC 9112 5.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


BLANK = " \t"
"""White space as HTTP means it (OWS, RFC 9110 5.6.3)."""

LENGTH = re.compile(r"[0-9]{1,18}")
"""A usable `Content-Length`."""


class ProtocolError(Exception):
    """A peer did not speak HTTP/1.1; the message says what it sent instead."""


class Head(NamedTuple):
    """The head of an answer. Names are as the service wrote them, values are decoded as latin-1."""

    status: int
    reason: str
    headers: Sequence[Header]
    names: Sequence[str]  # of the headers, in lower case
    keep_alive: bool

    def values(self, name: str) -> list[str]:
        """Return all values of the field, whose name is given in lower case."""
        if name not in self.names:
            return []
        return [value for key, (_, value) in zip(self.names, self.headers, strict=True) if key == name]

    def opens_websocket(self) -> bool:
        """Return whether this is a 101 that says WebSocket, and nothing else (RFC 6455 4.1)."""
        upgrade = [value.lower() for value in self.values("upgrade")]
        return self.status == 101 and upgrade == ["websocket"] and "upgrade" in options(self.headers, "connection")


@dataclass(frozen=True)
class Request:
    """The head of a request that is one in every reading: no folded lines, one length at most, one `Host`."""

    method: str
    target: str
    headers: Sequence[Header]

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of the field, whose name is given in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), default)

    def upgrades(self) -> bool:
        """Return whether it asks for a WebSocket."""
        asked = self.get("upgrade").lower() == "websocket" and "upgrade" in options(self.headers, "connection")
        return asked and self.method == "GET"

    def chunked(self) -> bool:
        return bool(self.get("transfer-encoding"))


def options(headers: Iterable[Header], name: str) -> frozenset[str]:
    """Return the comma-separated members of all fields of this name (in lower case), in lower case."""
    return frozenset(
        token.strip().lower() for key, value in headers if key.lower() == name for token in value.split(",")
    )


def parse_head(data: bytes) -> Head:
    """Parse an answer's head without its final empty line. Raises ProtocolError."""
    if b"\r\n " in data or b"\r\n\t" in data:
        data = _FOLD.sub(b" ", data)
    first, *lines = data.decode("latin-1").split("\r\n", MAX_HEAD_LINES + 1)
    match = _STATUS.fullmatch(first)
    if match is None or len(match[3] or "") > MAX_REASON_BYTES:
        raise ProtocolError(f"the answer begins with {first[:60]!r}")
    minor, status, reason = match.groups()
    headers = _fields(lines)
    names = [name.lower() for name, _ in headers]
    keep_alive = minor == "1" and not ("connection" in names and "close" in options(headers, "connection"))
    return Head(int(status), reason or "", headers, names, keep_alive)


def parse_request(data: bytes) -> Request:
    """Parse a request's head without its final empty line. Raises ProtocolError."""
    first, *lines = data.decode("latin-1").split("\r\n", MAX_HEAD_LINES + 1)
    match = _REQUEST.fullmatch(first)
    if match is None:
        raise ProtocolError(f"the request begins with {first[:60]!r}")
    request = Request(match[1], match[2], _fields(lines))
    names = [name.lower() for name, _ in request.headers]
    if names.count("host") != 1 or names.count("content-length") + names.count("transfer-encoding") > 1:
        raise ProtocolError("the request has more than one Host or length, or no Host")
    if request.chunked() and request.get("transfer-encoding").lower() != "chunked":
        raise ProtocolError("the request has an unknown transfer coding")
    if "content-length" in names and LENGTH.fullmatch(request.get("content-length")) is None:
        raise ProtocolError("the request has no usable Content-Length")
    return request


def _fields(lines: Sequence[str]) -> list[Header]:
    """Return the fields of a head. Raises ProtocolError, also for a folded line."""
    if len(lines) > MAX_HEAD_LINES:
        raise ProtocolError("the head has too many lines")
    parts = [line.partition(":") for line in lines]
    headers = [(name, value.strip(BLANK)) for name, _, value in parts]
    if not all(colon for _, colon, _ in parts):
        raise ProtocolError(
            f"the head has a malformed line {next(name for name, colon, _ in parts if not colon)[:60]!r}"
        )
    return checked(headers)


@lru_cache(maxsize=4096)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def request_head(method: str, target: str, headers: Iterable[Header]) -> bytes:
    """Return the bytes of a request's head. Raises ValueError if a value would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header field holds a line break")
    return text.encode("latin-1")


def checked(headers: Iterable[Header]) -> list[Header]:
    """Return the fields, none of which a reader could take for more than one. Raises ProtocolError.

    Whatever is read of a head, and whatever is written to a browser, goes through this.
    """
    kept = list(headers)
    for name, _ in kept:
        if not _is_token(name):
            raise ProtocolError(f"the head has a malformed field {name[:60]!r}")
    if _CONTROL.search("".join([value for _, value in kept])):
        raise ProtocolError("the head has a control character in a field")
    return kept


def response_head(status: int, reason: str, headers: Iterable[Header]) -> bytes:
    """Return the bytes of an answer's head. Raises ProtocolError if a reading of them is not one head."""
    if not 100 <= status <= 599 or _CONTROL.search(reason):
        raise ProtocolError("the answer has no usable status line")
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in checked(headers)), "", ""]
    return "\r\n".join(lines).encode("latin-1")
