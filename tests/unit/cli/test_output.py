"""Tables, times, sizes and errors as people and programs read them."""

from __future__ import annotations

import io
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jupyter_mlenv import timestamps
from jupyter_mlenv.cli import listing, output
from jupyter_mlenv.cli.progress import Rate, describe
from jupyter_mlenv.engines.model import Progress
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import BuildFailed
from jupyter_mlenv.presets.model import Endpoint

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


def test_plain_tables_are_aligned_and_complete() -> None:
    table = output.Table(("ID", "WHERE"))
    table.add(output.Cell("a", "bold"), "/somewhere/quite/long" * 20)
    table.add("日本", "/x")
    first, second, third = output.plain_lines(table)
    assert first == "ID    WHERE"
    assert second.endswith("/somewhere/quite/long" * 20)
    assert third == "日本  /x"


def test_a_table_in_a_pipe_has_no_colour() -> None:
    stream = io.StringIO()
    table = output.Table(("STATE",))
    table.add(output.Cell("running", "green"))
    output.write_table(table, stream)
    assert stream.getvalue() == "STATE\nrunning\n"


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2025-03-01T11:59:58Z", "2 s"),
        ("2025-03-01T11:30:00.123456789Z", "30 min"),
        ("2025-03-01T09:00:00+00:00", "3 h"),
        ("2025-02-28T10:00:00Z", "1 day"),
        ("2025-02-20T10:00:00Z", "9 days"),
        ("2025-03-01T12:00:05Z", "0 s"),
    ],
)
def test_ages(since: str, expected: str) -> None:
    moment = timestamps.parse(since)
    assert moment is not None
    assert output.age(moment, NOW) == expected


def test_paths_below_home_are_short() -> None:
    assert output.short_path("/home/ann/project", "/home/ann") == "~/project"
    assert output.short_path("/home/ann", "/home/ann") == "~"
    assert output.short_path("/home/anna/project", "/home/ann") == "/home/anna/project"
    assert output.short_path("/srv", "/") == "/srv"


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (345e6, "345 MB"), (7.25e9, "7.2 GB")]
)
def test_sizes(count: float, expected: str) -> None:
    assert output.size(count) == expected


def test_list_tells_what_happened_to_a_dead_environment() -> None:
    environment = Environment(
        id="python-1111111111",
        preset="python",
        title="",
        name="second",
        owner="o",
        workspace="/w",
        state=State.FAILED,
        image="",
        endpoints=(Endpoint("notebook", "", ()), Endpoint("tensorboard", "", ())),
        created=datetime(2025, 3, 1, 9, tzinfo=timezone.utc),
        exit_code=137,
        oom_killed=True,
        outdated=True,
    )
    row = output.plain_lines(listing.environments_table([environment], NOW))[1]
    assert re.split(r"  +", row) == [
        "python-1111111111",
        "python (second)",
        "failed (out of memory), outdated",
        "/w",
        "made 3 h ago",
        "notebook, tensorboard",
    ]


def test_an_error_in_a_pipe_says_log_message_hint() -> None:
    stream = io.StringIO()
    log = [f"line {n}" for n in range(30)]
    output.write_error(BuildFailed("The image could not be built.", hint="Look at step 3.", log=log), stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  line 10"
    assert lines[-2:] == ["Error: The image could not be built.", "Hint: Look at step 3."]
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("progress", "rate", "expected"),
    [
        (Progress("pull", "pytorch", 340_000_000, 1_000_000_000, "bytes"), 11e6, "34% of 1.0 GB, 11.0 MB/s: pytorch"),
        (Progress("pull", "pytorch", 340_000_000, 0, "bytes"), 0.0, "Downloading 340 MB: pytorch"),
        (Progress("build", "RUN pip", 3, 9, "steps"), 0.0, "Building 33%, 3 of 9 steps: RUN pip"),
        (Progress("create", "Creating the container"), 0.0, "Creating the container"),
        (Progress("queued"), 0.0, "Waiting"),
    ],
)
def test_progress_has_a_percentage_only_with_a_total(progress: Progress, rate: float, expected: str) -> None:
    said = describe(progress, rate)
    assert said.endswith(expected)
    assert ("%" in said) == (progress.total > 0)


def test_the_rate_is_of_this_phase_and_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.update(Progress("pull", "", 0, 100, "bytes"), 0.0) == 0.0
    assert rate.update(Progress("pull", "", 10, 100, "bytes"), 1.0) == 10.0
    for second in range(2, 20):
        last = rate.update(Progress("pull", "", 10 + second * 50, 2000, "bytes"), float(second))
    assert last == 50.0
    assert rate.update(Progress("build", "", 1, 9, "steps"), 20.0) == 0.0
    assert rate.update(Progress("pull", "", 5, 100, "bytes"), 21.0) == 0.0


def test_commands_are_named_as_they_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pipx and `uv tool install` put our own program on PATH and leave Jupyter's out."""
    for name in ("jupyter-mlenv", "jupyter"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    stream = io.StringIO()
    output.write_error(BuildFailed("It failed.", hint="Try: jupyter mlenv start x"), stream)
    (tmp_path / "jupyter").unlink()
    output.write_error(BuildFailed("It failed.", hint="Try: jupyter mlenv start x"), stream)
    assert re.findall(r"Try: (.*)", stream.getvalue()) == ["jupyter mlenv start x", "jupyter-mlenv start x"]
