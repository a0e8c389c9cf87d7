"""A service's answer as it arrives: heads, then the body in pieces. Pure."""

from __future__ import annotations

from .bodies import Body, LengthBody, body_of
from .http1 import MAX_HEAD_BYTES, Head, ProtocolError, parse_head

MAX_INTERIM_ANSWERS = 16
"""Interim answers (100, 102, 103) to one request; services send one or two."""

SWITCHING_PROTOCOLS = 101


NO_BODY = LengthBody(0)
"""The body of an answer whose head is not complete; nothing is fed to it."""


class Answer:
    """The answer to one request. All methods that read raise ProtocolError.

    `head` is None until the final head is complete. `held` counts the bytes of the body that are here, `pending` has
    those not read yet: of a head, behind a head that ends HTTP, of a body in very many pieces, or behind the end.
    Only a request that asked for an `upgrade` (to a WebSocket) may be answered with 101.
    """

    __slots__ = ("_body", "_interim", "_method", "_pieces", "_upgrade", "done", "head", "held", "pending")

    def __init__(self, method: str = "", *, upgrade: bool = False) -> None:
        self.head: Head | None = None
        self.done = False
        self.held = 0
        self.pending = bytearray()
        self._method, self._upgrade = method, upgrade
        self._interim = 0
        self._body: Body = NO_BODY
        self._pieces: list[bytes] = []

    @property
    def has_pieces(self) -> bool:
        return bool(self._pieces)

    @property
    def switched(self) -> bool:
        """True once a head has ended HTTP: what follows it is another protocol."""
        return self.head is not None and self.head.status == SWITCHING_PROTOCOLS

    @property
    def interrupted(self) -> bool:
        """True while part of the body waits for `go_on`, in another turn of the loop."""
        return bool(self.pending) and self.head is not None and not self.done and not self.switched

    def feed(self, data: bytes) -> None:
        """Read more bytes."""
        if self.head is None:
            self.pending += data
            self._read_heads(len(self.pending) - len(data))
            if self.head is None or self.head.status == SWITCHING_PROTOCOLS:
                return
            data = bytes(self.pending)
            self.pending.clear()
        elif self.pending:
            self.pending += data
            return
        self._read_body(data)

    def go_on(self) -> None:
        """Read on where `feed` stopped since the body is in very many pieces."""
        data, self.pending = bytes(self.pending), bytearray()
        self._read_body(data)

    def take(self) -> bytes:
        """Return the part of the body that is here."""
        pieces, self._pieces, self.held = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> bool:
        """Return whether the answer is complete now that the service has closed the connection."""
        if self.head is not None and self._body.end():
            self.done = True
        return self.done

    def _read_heads(self, at: int) -> None:
        """Parse what is complete in `pending`, whose first `at` bytes hold no end of a head."""
        while self.head is None:
            stop = self.pending.find(b"\r\n\r\n", max(0, at - 3))
            if stop < 0:
                if len(self.pending) > MAX_HEAD_BYTES:
                    raise ProtocolError("the head of the answer is too long")
                return
            at = 0
            head = parse_head(bytes(self.pending[:stop]))
            del self.pending[: stop + 4]
            if head.status == SWITCHING_PROTOCOLS:
                # The bytes behind the head are no longer HTTP, so nobody may see them who did not ask for that.
                if not self._upgrade or not head.opens_websocket():
                    raise ProtocolError("the service switches to another protocol, which nobody asked for")
                self.head = head
            elif head.status >= 200:
                self._body = body_of(head, self._method)
                self.head = head
            else:
                self._interim += 1
                if self._interim > MAX_INTERIM_ANSWERS:
                    raise ProtocolError("the service sends interim answers without an end")

    def _read_body(self, data: bytes) -> None:
        if not self._body.done:
            pieces, data = self._body.feed(data)
            self._pieces += pieces
            self.held += sum(map(len, pieces))
        self.done = self._body.done
        self.pending += data  # Behind the end: the connection is not used again.
