"""Processes whose output the agent keeps."""

from __future__ import annotations

from collections import deque

from .channel import CHUNK_BYTES
from .loop import log

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from .channel import Channel
    from .loop import Waiters
    from .process import Child

LOG_LINES = 500  # kept per process
TAIL_LINES = 40  # in an error
MAX_LINE_BYTES = 8192  # after which an endless line is cut


class LoggedProcess:
    """A process with its last lines of output. `state` is `starting`, `ready` or `exited`.

    `child` is None until it runs, and if it could not be run. `changed` is fired when any of it changes.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.child: Child | None = None
        self.state = "starting"
        self.stopping = self.timed_out = False
        self.changed: Waiters = []
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def exited(self) -> bool:
        return self.state == "exited"

    def tail(self) -> list[str]:
        """Return the last lines, for an error."""
        return list(self.lines)[-TAIL_LINES:]

    def append(self, line: bytes) -> None:
        """Keep a line, and put it into the container's log."""
        text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
        self.lines.append(text)
        log(f"[{self.key}] {text}")

    async def read(self, output: Channel) -> None:
        """Keep what comes from its output, line by line, until the end."""
        chunk, rest = memoryview(bytearray(CHUNK_BYTES)), b""
        while True:
            count = await output.read_into(chunk)
            if not count:
                break
            *lines, rest = (rest + chunk[:count]).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self.append(line)
        if rest:
            self.append(rest)
