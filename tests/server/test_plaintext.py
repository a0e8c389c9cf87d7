"""What a container or a repository has written, in processes of their own: a terminal, and a line without an end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT
from tests.unit.test_plaintext import CLIPBOARD, DRAWING, harmless


def test_long_hostile_lines_are_cleaned_in_linear_time() -> None:
    """A tenth of a second; were it quadratic, five minutes."""
    units = [
        "\\x1b[",
        "\\x1b]",
        "\\x9d",
        "\\x1b[0;",
        "\\x1b ",
        "\\x1b[ ",
        "\\x1b]a\\x1b",
        "\\r",
        "\\x1b[0m",
        "\\x1b[0;\\x9b",
    ]
    program = f"""
from jupyter_mlenv import plaintext
for unit in {units!r}:
    for colours in (False, True):
        plaintext.log_line(unit.encode().decode("unicode_escape") * 100_000, colours=colours)
"""
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, check=True, timeout=120)


def test_a_terminal_that_shows_presets_of_a_cloned_repository(tmp_path: Path) -> None:
    """With a real terminal, since only there styles and tables are drawn."""
    home, project = tmp_path / "home", tmp_path / f"project {CLIPBOARD.replace('/', '')}"
    home.mkdir()
    project.mkdir()
    escaped = CLIPBOARD.replace("\x1b", "\\u001b").replace("\x07", "\\u0007")
    preset = (
        f'schema = 1\n[[preset]]\nname = "mine"\ntitle = "{escaped}"\n"{escaped}" = 1\n[preset.image]\nbase = "x"\n'
    )
    (project / "mlenv.toml").write_text(preset)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    env["DOCKER_HOST"] = f"unix://{tmp_path}/no.sock"
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "jupyter_mlenv.cli", "presets"]
    process = subprocess.Popen(command, cwd=project, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while chunk := _read(master):
        seen += chunk
    os.close(master)
    process.wait(60)
    text = seen.decode().replace("\r\n", "\n")
    assert "mlenv.toml" in text
    assert "52;c;Y2FuYXJ5" in text, text  # it was shown, as what it is
    assert harmless(text, DRAWING), ascii(text)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the last user of the terminal is gone
        return b""
