"""`jupyter mlenv` against the real engine, as a person types it, with no Jupyter server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.repository import ROOT

SAY = "echo first >/proc/1/fd/1; echo second >/proc/1/fd/1"
"""Writes where the container's own output goes."""


class Cli:
    """Runs commands for one owner, in one project folder."""

    def __init__(self, owner: str, run_root: str, workspace: Path, data: Path) -> None:
        self.settings = [f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={run_root}"]
        self.workspace = workspace
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.environment["JUPYTER_DATA_DIR"] = str(data)

    def command(self, *argv: str) -> list[str]:
        cut = argv.index("--") if "--" in argv else len(argv)
        return [sys.executable, "-m", "jupyter_mlenv.cli", *argv[:cut], *self.settings, *argv[cut:]]

    def run(self, *argv: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """The finished command; its status must be the expected one."""
        done = subprocess.run(
            self.command(*argv),
            cwd=self.workspace,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def spawn(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*argv),
            cwd=self.workspace,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def list(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.run("list", "--json").stdout)
        return found


@pytest.fixture
def cli(owner: str, run_root: str, workspace: Path, tmp_path: Path) -> Iterator[Cli]:
    made = Cli(owner, run_root, workspace, tmp_path / "data")
    yield made
    left = [str(e["id"]) for e in made.list() if e["workspace"] == str(workspace)]
    if left:
        made.run("rm", "--yes", *left)


def test_the_whole_life_of_an_environment(cli: Cli, workspace: Path, owner: str) -> None:
    started = json.loads(cli.run("start", "host", "--json").stdout)
    assert started["state"] == "running"
    assert started["preset"] == "host"
    assert started["workspace"] == str(workspace)
    assert {"id", "image", "endpoints"} <= started.keys()
    id = str(started["id"])

    assert [e["id"] for e in cli.list()] == [id]
    assert re.search(rf"^{id} +host +running +\S+ +up \d+ s", cli.run("list").stdout, re.MULTILINE)

    # A second start is the same environment.
    assert json.loads(cli.run("start", "host", "--json").stdout)["id"] == id

    # By preset, in the project's folder, as the person.
    code = "import os, sys; print(os.getcwd(), os.getuid()); open('made', 'w').close(); sys.exit(7)"
    inside = cli.run("shell", "host", "--", "python3", "-c", code, status=7)
    assert inside.stdout.strip() == f"{workspace} {os.getuid()}"
    assert (workspace / "made").stat().st_uid == os.getuid()

    cli.run("shell", "host", "--", "sh", "-c", SAY)
    assert cli.run("logs", id[:-4]).stdout == "first\nsecond\n"
    assert cli.run("logs", "host", "--tail", "1").stdout == "second\n"
    assert json.loads(cli.run("logs", "host", "--json").stdout) == {"lines": ["first", "second"]}

    cli.run("stop", "host")
    assert cli.list()[0]["state"] == "stopped"
    error = cli.run("shell", "host", "--", "true", status=1).stderr
    assert "stopped" in error
    assert f"jupyter mlenv restart {id}" in error

    assert "running" in cli.run("restart", id).stdout
    assert cli.list()[0]["state"] == "running"

    assert "--yes" in cli.run("rm", "host", status=2).stderr
    assert cli.list()[0]["state"] == "running"
    assert json.loads(cli.run("rm", "--yes", "--json", "host").stdout) == [{"id": id, "removed": True}]
    assert cli.list() == []
    assert "jupyter mlenv start" in cli.run("list").stdout
    client = docker.from_env()
    assert client.api.containers(all=True, filters={"label": f"jupyter-mlenv.owner={owner}"}) == []


def test_two_of_a_preset_are_told_apart(cli: Cli) -> None:
    first = json.loads(cli.run("start", "host", "--json").stdout)["id"]
    second = json.loads(cli.run("start", "host", "--name", "second", "--json").stdout)["id"]
    assert first != second
    said = cli.run("stop", "host-", status=1).stderr
    assert first in said
    assert second in said
    cli.run("stop", "host")  # here: the unnamed one of this project
    states = {e["id"]: e["state"] for e in cli.list()}
    assert states == {first: "stopped", second: "running"}


def test_rm_asks_on_a_terminal(cli: Cli) -> None:
    id = json.loads(cli.run("start", "host", "--json").stdout)["id"]
    for answer, status, left in ((b"n\n", 1, [id]), (b"\n", 1, [id]), (None, 130, [id]), (b"yes\n", 0, [])):
        terminal, side = os.openpty()
        try:
            process = subprocess.Popen(
                cli.command("rm", "host"),
                cwd=cli.workspace,
                env=cli.environment | {"TERM": "xterm"},
                stdin=side,
                stdout=side,
                stderr=side,
            )
            shown = b""
            while b"[y/N]" not in shown:
                shown += os.read(terminal, 1024)
            assert id.encode() in shown
            if answer is None:
                process.send_signal(signal.SIGINT)
            else:
                os.write(terminal, answer)
            assert process.wait(timeout=120) == status
        finally:
            os.close(side)
            os.close(terminal)
        assert [e["id"] for e in cli.list()] == left


def test_start_asks_about_a_projects_preset_on_a_terminal(cli: Cli, workspace: Path) -> None:
    (workspace / "mlenv.toml").write_text('[image]\nhost = true\n[env]\nFROM_A_STRANGER = "yes"\n')
    error = json.loads(cli.run("start", "project", "--json", status=1).stdout)
    assert error["code"] == "consent_required"
    assert error["details"]["consent"]["folder"] == str(workspace)
    for answer, status, running in ((b"n\n", 1, 0), (b"y\n", 0, 1)):
        terminal, side = os.openpty()
        try:
            process = subprocess.Popen(
                cli.command("start", "project"),
                cwd=cli.workspace,
                env=cli.environment | {"TERM": "dumb", "NO_COLOR": "1"},
                stdin=side,
                stdout=subprocess.DEVNULL,
                stderr=side,
            )
            shown = b""
            while b"[y/N]" not in shown:
                shown += os.read(terminal, 1024)
            assert b"It sets the variables FROM_A_STRANGER=yes." in shown
            os.write(terminal, answer)
            reader = threading.Thread(target=_read_to_the_end, args=(terminal,), daemon=True)
            reader.start()  # a terminal that nobody reads stops who writes to it
            assert process.wait(timeout=120) == status
        finally:
            os.close(side)
            os.close(terminal)
        assert len(cli.list()) == running


def _read_to_the_end(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 1024):
            pass


def test_an_unknown_preset_names_the_nearest(cli: Cli) -> None:
    error = json.loads(cli.run("start", "hots", "--json", status=1).stdout)
    assert error["code"] == "preset_not_found"
    assert "host" in error["message"] + error["hint"]
    assert cli.list() == []


def test_options_reach_the_container(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("seen")
    cli.run("start", "host", "--memory", "300m", "--cpus", "0.5", "--mount", f"{data}:/data:ro")
    code = "print(open('/data/file').read()); open('/data/new', 'w')"
    inside = cli.run("shell", "host", "--", "python3", "-c", code, status=1)
    assert inside.stdout.strip() == "seen"
    assert "Read-only file system" in inside.stderr
    id = str(cli.list()[0]["id"])
    limits = docker.from_env().api.inspect_container(f"mlenv-{id}")["HostConfig"]
    assert limits["Memory"] == 300 * 1024**2
    assert limits["NanoCpus"] == 500_000_000


def test_open_serves_only_who_knows_the_address_and_leaves_nothing(cli: Cli) -> None:
    cli.run("start", "host")
    process = cli.spawn("open", "host", "--no-browser", "--port", "0")
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32,}/mlenv/envs/host-\w{10}/notebook/lab\S*", url), url
        with urllib.request.urlopen(url, timeout=30) as page:
            assert "JupyterLab" in page.read().decode()
        secret = url.split("/")[3]
        assert secret in cli.run("shell", "host", "--", "python3", "-c", RUNNING).stdout
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url.partition(secret)[0], timeout=30)
        assert refused.value.code == 404
        with refused.value:
            assert refused.value.headers.get("Location") is None
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert secret not in cli.run("shell", "host", "--", "python3", "-c", RUNNING).stdout


RUNNING = """
import pathlib
for p in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
        words = p.read_bytes().split(b'\\0')
    except OSError:
        continue
    if b'-c' not in words:
        print(b' '.join(words).decode())
"""


def test_ctrl_c_cancels_a_start_and_leaves_nothing(cli: Cli, workspace: Path, base_image: str, owner: str) -> None:
    (workspace / "mlenv.toml").write_text('schema = 1\nname = "slow"\ntitle = "Slow"\n[image]\ndockerfile = "Slow"\n')
    (workspace / "Slow").write_text(f"FROM {base_image}\nRUN echo begun && sleep 300\n")
    cli.run("agree", "--yes")
    process = cli.spawn("start", "slow")
    assert process.stderr is not None
    try:
        while "sleep 300" not in (line := process.stderr.readline()):
            assert line, f"ended: {process.wait()}"
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Cancelled" in err
    assert cli.list() == []
    client = docker.from_env()
    assert client.api.images(filters={"label": [f"jupyter-mlenv.owner={owner}", "jupyter-mlenv.preset=slow"]}) == []


def test_a_failed_build_shows_its_last_lines(cli: Cli, workspace: Path, base_image: str) -> None:
    (workspace / "mlenv.toml").write_text('schema = 1\nname = "bad"\ntitle = "Bad"\n[image]\ndockerfile = "Bad"\n')
    (workspace / "Bad").write_text(f"FROM {base_image}\nRUN echo the reason is here && exit 9\n")
    cli.run("agree", "--yes")
    done = cli.run("start", "bad", status=1)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert any(line.startswith("  ") and "the reason is here" in line for line in lines)
    error = next(n for n, line in enumerate(lines) if line.startswith("Error: "))
    assert error > next(n for n, line in enumerate(lines) if "the reason is here" in line)
    assert cli.list() == []


def test_logs_follow_until_ctrl_c(cli: Cli) -> None:
    cli.run("start", "host")
    process = cli.spawn("logs", "host", "-f")
    assert process.stdout is not None
    try:
        cli.run("shell", "host", "--", "sh", "-c", SAY)
        assert process.stdout.readline() == "first\n"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130


def test_doctor_really_starts_a_container_and_removes_it(cli: Cli) -> None:
    # Its status depends on whether the extension is installed where the tests run.
    done = subprocess.run(
        cli.command("doctor", "--json"), cwd=cli.workspace, env=cli.environment, capture_output=True, check=False
    )
    report = json.loads(done.stdout)
    found = {check["name"]: check for check in report["checks"]}
    assert found["Engine"]["status"] == "ok"
    assert found["Container"]["status"] == "ok", found["Container"]
    version = ".".join(map(str, sys.version_info[:3]))
    assert version in found["Container"]["message"]
    assert found["Shared files"]["status"] == "ok", found["Shared files"]
    assert str(cli.workspace) in found["Shared files"]["message"]
    assert cli.list() == []


def test_a_kernel_in_the_menu_that_cannot_start_yet_says_what_makes_it_ready(cli: Cli, tmp_path: Path) -> None:
    said = cli.run("kernels", "add", "pytorch-cuda", "host", "--prefix", str(tmp_path)).stdout
    assert "This makes it: jupyter mlenv start pytorch-cuda" in said
    assert said.count("This makes it") == 1
    assert (tmp_path / "share/jupyter/kernels/mlenv-pytorch-cuda/kernel.json").is_file()
