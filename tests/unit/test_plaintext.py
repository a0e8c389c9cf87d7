"""Nothing that a container or a repository has written is obeyed by the terminal that shows it."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable

import pytest

from jupyter_mlenv import plaintext
from jupyter_mlenv.cli import output
from jupyter_mlenv.cli.progress import Bar, Lines
from jupyter_mlenv.engines.model import Progress
from jupyter_mlenv.errors import BuildFailed
from jupyter_mlenv.kernels.kernel_error import KernelError

CLIPBOARD = "\x1b]52;c;Y2FuYXJ5\x07"
"""OSC 52: the terminal puts `canary` on the clipboard."""

POWERS = ["\x1b", "\x07", "\x08", "\r", "\x9b", "\x9d", "\x85", "\x7f", "\u202e", "\u2066", "\u2028", "\x00", "\udc80"]
"""One of each kind of character that does something."""

NASTY = [
    CLIPBOARD,
    "\x1b]52;c;Y2FuYXJ5\x1b\\",
    "\x9d52;c;Y2FuYXJ5\x9c",
    "\x1b]0;title\x07",
    "\x1bP$q\x1b\\",
    "\x1b[2J",
    "\x1b[6n",
    "\x9b6n",
    "\x1bc",
    "\x1b(0",
    "\x1b]52;c;never ends",
    *POWERS,
]


class Terminal(io.StringIO):
    """A stream that says that a person looks at it."""

    def isatty(self) -> bool:
        return True


def harmless(text: str, allowed: str = "") -> bool:
    """No power is left in the text but those that our own colours have, where they are `allowed`."""
    rest = re.sub(allowed, "", text) if allowed else text
    return not any(power in rest for power in POWERS)


COLOURS = r"\x1b\[[0-9;]*m"
DRAWING = r"\x1b\[[0-9;]*m|\x1b\[[0-9;]*[AK]|\x1b\[\?25[hl]|\r"
"""What rich itself writes."""


@pytest.mark.parametrize("clean", [plaintext.shown, plaintext.one_line, plaintext.log_line])
def test_random_texts_lose_their_power(clean: Callable[[str], str]) -> None:
    dice = random.Random(52)
    pieces = [*NASTY, "a", "0;31m", "é", "日", "\u200d", "\t", " "]
    for _ in range(3000):
        text = "".join(dice.choices(pieces, k=dice.randrange(12)))
        assert harmless(clean(text)), ascii(text)
        assert harmless(plaintext.log_line(text, colours=True), COLOURS), ascii(text)
        assert json.loads(plaintext.json_text(json.dumps(text, ensure_ascii=False))) == text
        assert harmless(plaintext.json_text(json.dumps(text, ensure_ascii=False)))


def test_what_is_written_stays_readable() -> None:
    assert plaintext.shown("a\tb\nnaïve 日本 👩\u200d🔬") == "a\tb\nnaïve 日本 👩\u200d🔬"
    assert plaintext.one_line("x\ny\x1b") == "x\\ny\\x1b"
    assert plaintext.log_line(f"\x1b[31mred{CLIPBOARD}\x1b[0m and\tmore") == "red and\tmore"
    assert plaintext.log_line("\x1b[31mred", colours=True) == "\x1b[31mred\x1b[0m"
    assert plaintext.log_line(" 10%\r 50%\r100% done\r\n") == "100% done"


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_every_way_in_which_a_command_prints(
    nasty: str, stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    said = stream()
    output.write(f"title {nasty}", stream=said)
    output.write(f"title {nasty}", style="green", stream=said)
    output.write_log(f"log {nasty}", stream=said)
    table = output.Table(("A", "B"))
    table.add(f"cell {nasty}", output.Cell(f"cell {nasty}", "bold"))
    output.write_table(table, said)
    error = BuildFailed(f"It failed: {nasty}", hint=f"Do {nasty}", log=[f"log {nasty}"], details={"step": nasty})
    output.write_error(error, said)
    error.log = (nasty,)  # as the command line adds a job's log
    output.write_error(error, said)
    bar = Bar()
    bar.log(f"line {nasty}")
    bar.progress(Progress("build", f"RUN {nasty}", 1, 2, "steps"))
    output.console(said).print(bar)
    assert harmless(said.getvalue(), DRAWING if stream is Terminal else "")
    assert said.getvalue().encode()  # a terminal can be given it

    Lines().progress(Progress("build", f"RUN {nasty}"))
    output.write_json({"title": nasty, "error": error.to_json()})
    out, err = capsys.readouterr()
    assert harmless(out + err)
    assert json.loads(out)["title"] == nasty


@pytest.mark.parametrize("nasty", NASTY)
def test_errors_are_harmless_wherever_they_are_shown(nasty: str) -> None:
    """As text in a server's log or a notebook, and as an answer of the REST API."""
    error = BuildFailed(f"It failed: {nasty}", hint=f"Do {nasty}", log=[f"log {nasty}"])
    answer = error.to_json()
    assert harmless(str(error) + answer["message"] + answer["hint"] + "".join(answer["log"]))
    assert harmless(str(KernelError(error)))
