"""What `doctor` finds out without an engine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.cli.doctor import engine_checks, host_checks
from jupyter_mlenv.cli.doctor.engine_checks import registries as ask_registries
from jupyter_mlenv.engines.base import NO_ENGINE, Storage
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.errors import MlenvError, PresetInvalid
from jupyter_mlenv.presets.model import BuiltImage, DockerfileImage, HostImage, PulledImage
from jupyter_mlenv.settings import Settings
from tests.support.fakes import FakeEngine
from tests.support.repository import ROOT
from tests.support.waiting import free_port

SETTINGS = Settings(owner="o", uid=1, gid=1, username="u", run_root="/nowhere")


def run_directory(path: Path) -> host_checks.Check:
    (check,) = host_checks.run_directory(replace(SETTINGS, run_root=str(path)))
    return check


def test_a_private_run_directory_is_fine_and_an_open_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert run_directory(path).status == "ok"  # made by the first start
    path.mkdir(mode=0o700)
    assert run_directory(path).status == "ok"
    path.chmod(0o755)
    found = run_directory(path)
    assert found.status == "warning"
    assert "755" in found.message
    assert f"chmod 700 {path}" in found.hint


def test_a_run_directory_that_is_a_link_or_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        found = run_directory(tmp_path / name)
        assert found.status == "problem"
        assert "--MlenvConfig.run_root" in found.hint


def test_registries_are_those_that_images_really_come_from() -> None:
    sources = [
        HostImage(),
        PulledImage("pytorch/pytorch:2.6"),
        BuiltImage("python:3.12"),
        BuiltImage("python-like:3.12"),
        PulledImage("quay.io/jupyter/scipy-notebook:x"),
        PulledImage("nvcr.io/nvidia/cuda:12"),
        PulledImage("localhost:5000/a"),
        DockerfileImage("Dockerfile"),
    ]
    aliases = {"python": "mirror.example:5000/python", "nvcr.io": "mirror.example:5000/nvcr"}
    assert host_checks.registries(sources, aliases) == [
        "docker.io",
        "mirror.example:5000",
        "quay.io",
        "localhost:5000",
    ]


async def test_a_registry_that_does_not_answer_is_only_information() -> None:
    address = f"127.0.0.1:{free_port()}"
    (found,) = await ask_registries([address])
    assert found.status == "info"
    assert address in found.message
    assert "image_aliases" in found.hint


@pytest.mark.parametrize("error", NO_ENGINE)
async def test_an_engine_that_cannot_be_used_is_a_finding(error: type[MlenvError]) -> None:
    engine = FakeEngine()
    engine.fail("facts", error("Not here.", hint="Use another."))
    environments = Environments(engine, SETTINGS, Jobs())
    try:
        (found, without), facts = await engine_checks.engine(environments, "a test")
    finally:
        await environments.close()
    assert (found.status, found.message, found.hint) == ("problem", "Not here.", "Use another.")
    assert (without.status, facts) == ("info", None)


def test_broken_presets_are_problems() -> None:
    good, bad = host_checks.presets(
        [], [PresetInvalid("/p/x.toml:3: image.apt must be a list", hint="Write apt = [...]")]
    )
    assert good.status == "problem"
    assert bad.status == "problem"
    assert "/p/x.toml:3" in bad.message


def test_a_disk_that_is_nearly_full_is_told_with_what_the_engine_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path), "Make room.")
    monkeypatch.setattr(host_checks, "LOW_DISK_BYTES", 0)
    assert host_checks.disk(storage).status == "ok"
    monkeypatch.setattr(host_checks, "LOW_DISK_BYTES", 1 << 62)
    full = host_checks.disk(storage)
    assert (full.status, full.hint) == ("warning", "Large images need more. Make room.")


@pytest.mark.parametrize(
    ("disabled", "status", "told"),
    [
        ({}, "ok", "enabled"),
        ({"jupyter-mlenv": True}, "problem", "disabled"),
        ({"jupyter-mlenv:launcher": True, "jupyter-mlenv:kernels": False}, "warning", "enabled, without tiles"),
        ({"jupyter-mlenv:model": True}, "problem", "jupyter-mlenv:model: nothing of it is shown"),
        ({"jupyter-mlenv:plugin": True, "jupyter-mlenv:launcher": True}, "problem", "no tiles, tabs or commands"),
        ({"jupyter-mlenv:of-another": True}, "ok", "enabled"),
    ],
)
def test_disabled_parts_of_the_lab_extension_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disabled: dict[str, bool], status: str, told: str
) -> None:
    """As an administrator writes them, in `page_config.json` of JupyterLab."""
    folder = tmp_path / "labconfig"
    folder.mkdir()
    (folder / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    (check,) = (check for check in host_checks.jupyter() if check.name == "Lab extension")
    assert check.status == status
    assert told in check.message
    assert "kernels" not in check.message
    assert "launcher" not in disabled or "jupyter-mlenv:launcher" in check.hint


def test_the_parts_are_those_of_the_lab_extension() -> None:
    ids = (ROOT / "labextension" / "src" / "ids.ts").read_text()
    assert set(re.findall(r"'(jupyter-mlenv:\w+)'", ids)) == host_checks.PLUGINS.keys()
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `(jupyter-mlenv:\w+)`", page, re.MULTILINE)) == host_checks.PLUGINS.keys()
