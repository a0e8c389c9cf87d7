"""Output for people and programs: tables, JSON, errors. `rich` is imported only for a terminal; it costs 50 ms.

Everything that a command prints goes through here, where control characters in it lose their power.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from .. import plaintext, timestamps
from ..errors import MlenvError
from ..serialization import to_plain

if TYPE_CHECKING:
    from rich.console import Console

COMMAND, ALONE = "jupyter mlenv", "jupyter-mlenv"
"""The command as Jupyter has it, and as a program of its own."""

LOG_TAIL_LINES = 20
"""Lines of log under an error, as the issue of the first click asks for."""


@dataclass(frozen=True)
class Cell:
    """Text with a rich style; the style is dropped where no colour is wanted."""

    text: str
    style: str = ""


@dataclass
class Table:
    """Rows of cells under column titles. A plain string is a cell without a style."""

    columns: Sequence[str]
    rows: list[Sequence[Cell | str]] = field(default_factory=list)

    def add(self, *cells: Cell | str) -> None:
        """One more row; as many cells as there are columns."""
        self.rows.append(cells)


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal; a closed or missing stream is none."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def console(stream: TextIO) -> Console:
    """A rich console for a terminal; it honours NO_COLOR and TERM itself."""
    from rich.console import Console  # noqa: PLC0415

    return Console(file=stream, highlight=False, soft_wrap=False)


def write(text: str = "", *, style: str = "", stream: TextIO | None = None) -> None:
    """A line, styled if a terminal shows it."""
    stream = stream or sys.stdout
    text = as_typed(plaintext.shown(text))
    if style and is_terminal(stream):
        console(stream).print(text, style=style, markup=False, soft_wrap=True)
    else:
        print(text, file=stream, flush=True)


def as_typed(text: str) -> str:
    """The text with commands as they work here: pipx and `uv tool` put `jupyter-mlenv` on PATH, and no `jupyter`."""
    if COMMAND not in text or shutil.which("jupyter") or not shutil.which(ALONE):
        return text
    return text.replace(COMMAND, ALONE)


def write_log(line: str, stream: TextIO | None = None) -> None:
    """A line that a program in a container has printed; colours stay where a terminal shows them."""
    stream = stream or sys.stdout
    colours = is_terminal(stream) and not os.environ.get("NO_COLOR")
    print(plaintext.log_line(line, colours=colours), file=stream, flush=True)


def write_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(plaintext.json_text(json.dumps(to_plain(value), indent=2, ensure_ascii=False)))


def write_table(table: Table, stream: TextIO | None = None) -> None:
    """A table: for a terminal with colour and fitted to its width, else aligned text with nothing cut off."""
    stream = stream or sys.stdout
    if not is_terminal(stream):
        print("\n".join(plain_lines(table)), file=stream)
        return
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, title in enumerate(table.columns):
        # The first column is what people copy: it may never be shortened.
        drawn.add_column(title, no_wrap=number == 0, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, style=cell.style) for cell in map(_cell, row)))
    console(stream).print(drawn)


def plain_lines(table: Table) -> list[str]:
    """The table as lines of text with aligned columns. Pure."""
    rows = [tuple(table.columns), *(tuple(_cell(c).text for c in row) for row in table.rows)]
    widths = [max(_width(row[n]) for row in rows) for n in range(len(table.columns))]
    return [
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(cell: Cell | str) -> Cell:
    text, style = (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
    return Cell(plaintext.one_line(text), style)


def _width(text: str) -> int:
    """Columns that a terminal gives a text: wide East Asian characters take two, combining marks none."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if not unicodedata.combining(c))


def write_error(error: MlenvError, stream: TextIO | None = None) -> None:
    """The end of the log that explains the error, what happened, and what to do now."""
    stream = stream or sys.stderr
    for line in error.log[-LOG_TAIL_LINES:]:
        write(f"  {plaintext.log_line(line)}", style="dim", stream=stream)
    if is_terminal(stream):
        from rich.text import Text  # noqa: PLC0415

        said = Text.assemble(("Error: ", "bold red"), as_typed(plaintext.shown(error.message)))
        if error.hint:
            said.append("\n→ ", "bold cyan").append(as_typed(plaintext.shown(error.hint)))
        console(stream).print(said, soft_wrap=True)
    else:
        write(f"Error: {error.message}", stream=stream)
        if error.hint:
            write(f"Hint: {error.hint}", stream=stream)


def short_path(path: str, home: str | None = None) -> str:
    """The path with the home directory as `~`."""
    home = os.path.expanduser("~") if home is None else home
    if home not in ("", "/") and (path == home or path.startswith(home.rstrip("/") + "/")):
        return "~" + path[len(home.rstrip("/")) :]
    return path


def age(since: datetime, now: datetime | None = None) -> str:
    """Return how long ago a time was, in its largest unit (`3 h`)."""
    seconds = round(timestamps.age(since, now).total_seconds())
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}" if (unit, seconds // size) != ("days", 1) else "1 day"
    return f"{max(seconds, 0)} s"


def size(count: float) -> str:
    """Bytes for people, in the decimal units that registries and disks use."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
