"""`jupyter mlenv` as a program: exit statuses, help, and what it says where no engine runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_mlenv.cli.app import COMMANDS, main
from tests.support.repository import ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mlenv(tmp_path: Path) -> Run:
    """Runs the program in an empty home and a project folder, with an engine that does not answer."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "pyproject.toml").write_text("")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "COLUMNS": "100",
    }

    def run(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jupyter_mlenv.cli", *argv]
        return subprocess.run(
            command,
            cwd=project,
            env=environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The same in this process, for what ends before anything is done; quicker by a second each."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(argv)
        return (status, *capsys.readouterr())

    return run


def test_help_names_every_command(here: Here) -> None:
    status, help, _ = here("--help")
    assert status == 0
    for name in COMMANDS:
        assert f"\n  {name} " in help
    assert here() == (2, "", help)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(here: Here, name: str) -> None:
    status, help, _ = here(name, "--help")
    assert status == 0
    assert help.startswith(f"usage: jupyter mlenv {name}")
    assert "--MlenvConfig.NAME=VALUE" in help


def test_settings_are_listed(here: Here) -> None:
    assert "--MlenvConfig.image_aliases" in here("list", "--help-all")[1]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["lst"], "did you mean list?"),
        (["--jsno"], "there is no option --jsno"),
        (["help", "strat"], "did you mean start?"),
        (["start"], "missing: PRESET"),
        (["start", "host", "--memroy", "8g"], "did you mean --memory?"),
        (["start", "--memroy", "8g"], "did you mean --memory?"),
        (["start", "host", "--memory", "much"], "8g"),
        (["start", "host", "--gpu", "some"], "device=0,1"),
        (["start", "host", "--mount", "/nowhere/at/all"], "nothing at /nowhere/at/all"),
        (["stop"], "missing: ID"),
        (["logs", "host", "--tail", "x"], "not a number of lines"),
        (["open", "host", "--port", "70000"], "not a port"),
        (["list", "--", "x"], "nothing can follow --"),
        (["list", "--MlenvConfig.ownr=x"], "did you mean owner?"),
        (["list", "--config=/nowhere.py"], "no configuration file /nowhere.py"),
    ],
)
def test_wrong_usage_ends_with_2(here: Here, argv: list[str], said: str) -> None:
    status, out, err = here(*argv)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("usage: jupyter mlenv")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rm", "host"], "--yes"),
        (["logs", "host", "-f", "--json"], "--json"),
        (["list", "--MlenvConfig.default_cpus=lots"], "default_cpus"),
    ],
)
def test_wrong_usage_that_shows_later_ends_with_2_too(mlenv: Run, argv: list[str], said: str) -> None:
    done = mlenv(*argv)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in done.stderr
    assert "usage: jupyter mlenv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "argv",
    [["list"], ["start", "host"], ["rm", "--yes", "host"], ["open", "host"]],
)
def test_without_an_engine_it_says_so_and_ends_with_1(mlenv: Run, argv: list[str]) -> None:
    done = mlenv(*argv)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Error: " in done.stderr
    assert "no.sock" in done.stderr
    assert "Hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_an_error_for_programs(mlenv: Run) -> None:
    done = mlenv("list", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)
    assert error["code"] == "engine_unavailable"
    assert error["message"] in done.stderr


def test_presets_are_shown_without_an_engine(mlenv: Run) -> None:
    done = mlenv("presets")
    assert done.returncode == 0, done.stderr
    assert "\nhost " in done.stdout
    assert "Nothing can be started now" in done.stderr
    found = json.loads(mlenv("presets", "--json").stdout)
    host = next(preset for preset in found if preset["name"] == "host")
    assert host["ready"] is None


def test_a_broken_preset_file_is_told_with_its_place(mlenv: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "mlenv.toml").write_text('title = "x"\n[image]\nreferense = "y"\n')
    done = mlenv("presets")
    assert done.returncode == 0
    assert "\nhost " in done.stdout
    assert "project/mlenv.toml:3: `image.referense` is not a known setting" in done.stdout


def test_doctor_says_plainly_that_there_is_no_engine(mlenv: Run) -> None:
    done = mlenv("doctor")
    assert done.returncode == 1
    assert "Without an engine nothing can be started" in done.stdout
    assert "Presets" in done.stdout
    report = json.loads(mlenv("doctor", "--json").stdout)
    assert report["ok"] is False
    engine = next(check for check in report["checks"] if check["name"] == "Engine")
    assert engine["status"] == "problem"
    assert engine["hint"]


def test_version_needs_no_engine(mlenv: Run) -> None:
    done = mlenv("version", "--json")
    assert done.returncode == 0
    versions = json.loads(done.stdout)
    assert versions["jupyter_mlenv"] == mlenv("--version").stdout.strip()
    assert versions["engine"] is None


def test_settings_of_the_server_and_of_our_own_file_both_count(mlenv: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".jupyter"
    folder.mkdir()
    (folder / "jupyter_server_config.py").write_text(
        "c.MlenvConfig.owner = 'server'\nc.MlenvConfig.network = 'from-server'\n"
    )
    (folder / "jupyter_mlenv_config.py").write_text("c.MlenvConfig.owner = 'own'\n")
    shown = mlenv("list", "--show-config").stdout
    assert ".owner = 'own'" in shown
    assert ".network = 'from-server'" in shown
    assert ".owner = 'line'" in mlenv("list", "--show-config", "--MlenvConfig.owner=line").stdout


def test_no_command_imports_what_it_does_not_need() -> None:
    code = (
        "import sys\n"
        "import jupyter_mlenv.cli.listing, jupyter_mlenv.cli.output, jupyter_mlenv.environments.manager\n"
        "heavy = {'docker', 'aiohttp', 'rich', 'tornado', 'jupyter_server', 'jupyterlab', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_list_loads_nothing_of_a_start() -> None:
    """It is what people and programs ask for most; with all of it, it took a sixth longer."""
    code = (
        "import sys\n"
        "from jupyter_mlenv.cli.app import main\n"
        "main(['list', '--MlenvConfig.engine_url=unix:///nonexistent/mlenv.sock'])\n"
        "parts = ('environments.lifecycle', 'environments.operations', 'planning.plan', 'agent_client', 'images')\n"
        "print([part for part in parts if f'jupyter_mlenv.{part}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "No container engine answers" in done.stderr


def test_a_projects_preset_is_shown_and_agreed_to(mlenv: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "mlenv.toml").write_text('[image]\nreference = "registry.test/a:1"\n[env]\nA = "b"\n')
    done = mlenv("agree")
    assert done.returncode == 1
    assert "have not agreed" in done.stderr
    assert f"jupyter mlenv agree {tmp_path}/project" in done.stderr
    done = mlenv("agree", "--yes")
    assert done.returncode == 0, done.stderr
    assert "It downloads and runs the image registry.test/a:1." in done.stderr
    assert "It sets the variables A=b." in done.stderr
    assert f"jupyter mlenv start project --workspace {tmp_path}/project" in done.stdout
    found = json.loads(mlenv("presets", "--json").stdout)
    assert next(preset for preset in found if preset["name"] == "project")["consent"] is None
    assert mlenv("agree").returncode == 0


@pytest.mark.parametrize(("answer", "status"), [(b"\n", 1), (b"n\n", 1), (b"yes\n", 0)])
def test_it_asks_on_a_terminal(mlenv: Run, tmp_path: Path, answer: bytes, status: int) -> None:
    (tmp_path / "project" / "mlenv.toml").write_text('[image]\nreference = "registry.test/a:1"\n')
    terminal, side = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_mlenv.cli", "agree", str(tmp_path / "project")],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            stdin=side,
            stdout=side,
            stderr=side,
        )
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(terminal, 1024)
        assert b"It downloads and runs the image registry.test/a:1." in shown
        os.write(terminal, answer)
        assert process.wait(timeout=60) == status
    finally:
        os.close(side)
        os.close(terminal)
    assert mlenv("agree").returncode == status


def test_presets_says_what_nobody_has_agreed_to(mlenv: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "mlenv.toml").write_text('[image]\nreference = "registry.test/a:1"\n')
    assert "jupyter mlenv agree" in mlenv("presets").stdout
    assert mlenv("agree", "--yes").returncode == 0
    assert "jupyter mlenv agree" not in mlenv("presets").stdout


def test_there_is_nothing_to_agree_to(mlenv: Run) -> None:
    done = mlenv("agree", "--yes")
    assert done.returncode == 1
    assert "no mlenv.toml" in done.stderr
