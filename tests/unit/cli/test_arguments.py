"""What people type is understood, or refused with a sentence that helps."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from traitlets import Unicode
from traitlets.config import Configurable

from jupyter_mlenv.cli import arguments
from jupyter_mlenv.engines.model import Mount


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8g", 8 * 1024**3),
        ("512m", 512 * 1024**2),
        ("1.5GiB", 1536 * 1024**2),
        ("16 GB", 16 * 1024**3),
        ("2T", 2 * 1024**4),
        ("8388608", 8 * 1024**2),
    ],
)
def test_memory_is_read_as_docker_reads_it(text: str, expected: int) -> None:
    assert arguments.memory(text) == expected


@pytest.mark.parametrize("text", ["", "8x", "g", "-1g", "1m", "8 gigabytes"])
def test_a_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="8g"):
        arguments.memory(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("all", "all"), ("2", "2"), ("device=0,1", "device=0,1"), ("device=GPU-5a-b", "device=GPU-5a-b"), ("none", "")],
)
def test_gpu_requests(text: str, expected: str) -> None:
    assert arguments.gpus(text).to_text() == expected


@pytest.mark.parametrize("text", ["some", "device=", "device=0;rm", "-1", "1.5"])
def test_a_gpu_request_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="device=0,1"):
        arguments.gpus(text)


def test_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path / "data")
    assert arguments.mount("data") == Mount(here, here, False)
    assert arguments.mount(f"{here}:ro") == Mount(here, here, True)
    assert arguments.mount("data:/data") == Mount(here, "/data", False)
    assert arguments.mount("data:/data:ro") == Mount(here, "/data", True)
    assert arguments.mount("data:/data:rw") == Mount(here, "/data", False)


@pytest.mark.parametrize(
    ("text", "why"),
    [("missing:/data", "nothing at"), (".:data", "must start with /"), (".:/a:/b", "not a mount"), ("", "not a mount")],
)
def test_a_mount_that_cannot_be_is_refused(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=why):
        arguments.mount(text)


def test_settings_are_split_from_the_command_s_own_arguments() -> None:
    traits, own = arguments.split_traits(
        ["python", "--MlenvConfig.owner=a b", "--name", "x", "--MlenvConfig.network", "n"]
    )
    assert traits == ["--MlenvConfig.owner=a b", "--MlenvConfig.network=n"]
    assert own == ["python", "--name", "x"]


class Knobs(Configurable):
    """For the test."""

    image_aliases = Unicode().tag(config=True)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("--Knobs.image_aliases=x", ""),
        ("--Knobs.image_alias=x", "did you mean image_aliases?"),
        ("--Knob.image_aliases=x", "did you mean Knobs?"),
        ("--Elsewhere.thing=x", "there is no class Elsewhere"),
    ],
)
def test_a_misspelt_setting_is_noticed(token: str, why: str) -> None:
    said = arguments.unknown_trait(token, [Knobs])
    assert why in said
    assert bool(why) == bool(said)


def parser() -> arguments.Parser:
    made = arguments.Parser(prog="jupyter mlenv thing")
    made.add_argument("id")
    made.add_argument("endpoint", nargs="?")
    made.add_argument("--workspace")
    made.add_argument("--mount", action="append")
    return made


def test_options_may_stand_anywhere() -> None:
    args = parser().parse(["one", "--mount", "a", "two", "--mount=b"])
    assert (args.id, args.endpoint, args.mount) == ("one", "two", ["a", "b"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "missing: id"),
        (["one", "--worskpace", "x"], "did you mean --workspace?"),
        (["one", "--work", "x"], "there is no option --work"),
        (["one", "two", "three"], "one argument too many: three"),
        (["one", "--workspace"], "expected one argument"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse(argv)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in err
    assert err.startswith("usage: jupyter mlenv thing")
    assert "jupyter mlenv thing --help" in err
