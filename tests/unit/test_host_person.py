"""The person as this machine knows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_mlenv import caller_env, container_layout, host_person

ZONES = Path(container_layout.ZONES)


def test_the_umask_is_read_and_not_changed() -> None:
    code = "import os; os.umask(0o27); from jupyter_mlenv import host_person as h; print(h.umask(), h.umask('/x'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(0o27)] * 2


def test_groups_are_those_of_the_process_beside_its_first() -> None:
    numbers = [number for number, _ in host_person.groups()]
    assert numbers == sorted(set(os.getgroups()) - {os.getgid()})


def test_the_home_directory_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "export")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert host_person.home() == str(tmp_path / "export")


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("JST-9", "JST-9"),
        (f"{ZONES}/Europe/Paris", "Europe/Paris"),
    ],
)
def test_a_variable_names_the_zone(said: str, zone: str) -> None:
    assert host_person.timezone({"TZ": said}, "/nowhere") == zone


def test_the_machines_own_zone(tmp_path: Path) -> None:
    link, copy = tmp_path / "link", tmp_path / "copy"
    link.symlink_to(ZONES / "Europe" / "Paris")
    copy.write_bytes((ZONES / "Europe" / "Paris").read_bytes())
    assert host_person.timezone({}, str(link)) == "Europe/Paris"
    assert host_person.timezone({}, str(copy)) == "CET-1CEST,M3.5.0,M10.5.0/3"
    assert host_person.timezone({}, str(tmp_path / "nothing")) == ""
    (tmp_path / "odd").write_text("no zone\n")
    assert host_person.timezone({"TZ": str(tmp_path / "odd")}, str(link)) == ""


def test_only_variables_that_are_named_go_in_and_never_a_credential() -> None:
    ours = {
        "RUN_DATE": "2026-01-31",
        "WANDB_MODE": "offline",
        "KERNEL_USERNAME": "ann",
        "JUPYTERHUB_API_TOKEN": "secret",
        "JPY_API_TOKEN": "secret",
        "PATH": "/bin",
        "OTHER": "x",
    }
    assert caller_env.passed(ours, ["RUN_DATE", "WANDB_*"]) == {
        "RUN_DATE": "2026-01-31",
        "WANDB_MODE": "offline",
        "KERNEL_USERNAME": "ann",
    }
    assert "secret" not in caller_env.passed(ours, ["J*", "JPY_API_TOKEN"]).values()
    assert set(caller_env.passed(ours, ["P*", "O*"])) == {"KERNEL_USERNAME", "OTHER"}
