"""Progress of a job: a bar on a terminal, plain lines in a log, nothing where a program reads the output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from .. import plaintext
from ..engines.model import Progress
from . import output

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

PHASES = {
    "queued": "Waiting",
    "plan": "Planning",
    "pull": "Downloading",
    "build": "Building",
    "create": "Creating",
    "start": "Starting",
    "service": "Opening",
    "stop": "Stopping",
    "done": "Done",
}

BAR_CHARS = 24
"""Width of the bar in characters."""


class Display(Protocol):
    """Also the `model.Reporter` that work reports to."""

    def progress(self, progress: Progress) -> None: ...

    def log(self, line: str) -> None: ...

    def note(self, sentence: str) -> None:
        """Show what a person is told, among the lines of the log."""
        self.log(sentence)


def describe(progress: Progress, rate: float = 0.0) -> str:
    """`Downloading 34% of 1.2 GB, 11.0 MB/s: pytorch/pytorch` for a progress; `rate` in bytes a second. Pure."""
    text = PHASES.get(progress.phase, progress.phase)
    amount = ""
    if progress.unit == "bytes":
        if progress.fraction is not None:
            amount = f"{progress.fraction:.0%} of {output.size(progress.total)}"
        elif progress.current:
            amount = output.size(progress.current)
        if amount and rate > 0:
            amount += f", {output.size(rate)}/s"
    elif progress.fraction is not None:
        amount = f"{progress.fraction:.0%}, {progress.current} of {progress.total} {progress.unit}".rstrip()
    elif progress.current and progress.unit:
        amount = f"{progress.current} {progress.unit}"
    speaks = progress.phase not in ("pull", "build") or progress.message.startswith(text)
    if progress.message and not amount and speaks:
        return progress.message  # a sentence of its own, such as "Starting the container"
    return " ".join(filter(None, (text, amount))) + (f": {progress.message}" if progress.message else "")


class Rate:
    """Bytes a second over the last few seconds of one phase."""

    WINDOW = 5.0

    def __init__(self) -> None:
        self._phase = ""
        self._points: list[tuple[float, int]] = []

    def update(self, progress: Progress, now: float) -> float:
        """The rate after this progress, reported at `now` (seconds of a monotonic clock); 0 while it is unknown."""
        if progress.unit != "bytes":
            return 0.0
        if progress.phase != self._phase or (self._points and progress.current < self._points[-1][1]):
            self._phase, self._points = progress.phase, []
        self._points.append((now, progress.current))
        while len(self._points) > 2 and now - self._points[0][0] > self.WINDOW:
            self._points.pop(0)
        (first, start), (last, end) = self._points[0], self._points[-1]
        return (end - start) / (last - first) if last - first > 0.5 else 0.0


class Bar(Display):
    """Live on a terminal: one line with the bar, one with the latest line of the log. Gone when the work is done."""

    def __init__(self) -> None:
        self._current = Progress("queued")
        self._line = ""
        self._rate = Rate()
        self._speed = 0.0

    def progress(self, progress: Progress) -> None:
        self._current = progress
        self._speed = self._rate.update(progress, time.monotonic())

    def log(self, line: str) -> None:
        line = plaintext.one_line(plaintext.log_line(line).strip())
        if line:
            self._line = line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar  # noqa: PLC0415
        from rich.spinner import Spinner  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True, overflow="ellipsis")
        said = plaintext.one_line(describe(self._current, self._speed))
        if self._current.fraction is None:
            spinner = Spinner("dots", text=Text(said))
            spinner.start_time = 0.0  # the frame follows the clock although every draw makes a new one
            row.add_row(spinner)
        else:
            row.add_column(no_wrap=True, overflow="ellipsis")
            bar = ProgressBar(total=1.0, completed=self._current.fraction, width=BAR_CHARS, complete_style="cyan")
            row.columns[0].min_width = BAR_CHARS
            row.add_row(bar, Text(said))
        yield row
        if self._line:
            yield Text(self._line, style="dim", no_wrap=True, overflow="ellipsis")


class Lines(Display):
    """Plain lines: one whenever the phase or its message changes, so a log of a batch job stays readable."""

    def __init__(self) -> None:
        self._said = ("", "")

    def progress(self, progress: Progress) -> None:
        key = (progress.phase, progress.message)
        if key != self._said and progress.phase not in ("queued", "done"):
            self._said = key
            output.write(describe(Progress(progress.phase, progress.message)), stream=sys.stderr)

    def log(self, line: str) -> None:
        pass


class Silent(Display):
    """For programs."""

    def progress(self, progress: Progress) -> None:
        pass

    def log(self, line: str) -> None:
        pass


@contextmanager
def display(*, quiet: bool = False) -> Iterator[Display]:
    """The display that fits stderr; `quiet` where a program reads."""
    if quiet:
        yield Silent()
    elif not output.is_terminal(sys.stderr):
        yield Lines()
    else:
        from rich.live import Live  # noqa: PLC0415

        bar = Bar()
        with Live(bar, console=output.console(sys.stderr), transient=True, refresh_per_second=10):
            yield bar
