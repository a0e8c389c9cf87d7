"""Where a mount may appear inside a container, whoever asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv import mounts, presets
from jupyter_mlenv.engines.base import EngineFacts
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.errors import MlenvError, MountForbidden, PresetInvalid, RequestInvalid
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.presets.model import Preset
from jupyter_mlenv.server import validation
from jupyter_mlenv.settings import Settings
from tests.support.plans import planned

FACTS = EngineFacts(kind="docker", version="20.10", url="unix:///x")
ANN = Settings(
    owner="ann",
    uid=1000,
    gid=1000,
    username="ann",
    run_root="/srv/run",
    pip_env={"PIP_INDEX_URL": "https://ann:secret@index.test/simple"},
)
WORKSPACE = "/home/ann/project"

NEVER = [
    "/",
    "//",
    "/.",
    "/x/..",
    "/etc",
    "//etc",
    "///etc/",
    "/etc/cron.d",
    "/x/../etc",
    "/usr/local/lib",
    "/bin",
    "/lib64",
    "/sbin",
    "/proc/1",
    "/sys",
    "/dev/shm",
    "/boot",
    "/run",
    "/run/mlenv",
    "//run/mlenv/in",
    "/var/run",
    "/var/run/mlenv",
    "/opt",
    "//opt/jupyter-mlenv",
    "/opt/jupyter-mlenv/kernels.py",
]


def preset(*extra: Mount) -> Preset:
    small = presets.parse('[image]\nreference = "small:1"', file="small.toml", directory="/p")
    return replace(small, mounts=extra)


def by_preset(target: str) -> None:
    presets.parse(
        f'[image]\nreference = "small:1"\n[[mounts]]\nsource = "/data"\ntarget = "{target}"',
        file="a.toml",
        directory="/",
    )


def by_rest(target: str) -> None:
    validation.start({"preset": "small", "mounts": [{"source": "/data", "target": target}]})


def by_plan(target: str, workspace: str = WORKSPACE, settings: Settings = ANN, source: str = "/data") -> Any:
    request = StartRequest("small", workspace, mounts=(Mount(source, target),))
    return planned(preset(), request, FACTS, settings)


def by_plan_of_a_preset(target: str) -> Any:
    return planned(preset(Mount("/data", target)), StartRequest("small", WORKSPACE), FACTS, ANN)


@pytest.mark.parametrize("target", NEVER)
@pytest.mark.parametrize("way", [by_preset, by_rest, by_plan, by_plan_of_a_preset])
def test_a_place_that_the_container_needs_is_refused_however_it_is_written(
    way: Callable[[str], object], target: str
) -> None:
    with pytest.raises((MountForbidden, PresetInvalid, RequestInvalid)) as caught:
        way(target)
    assert "the container" in caught.value.message or target == "/"


@pytest.mark.parametrize(
    "target", ["/data", "/mnt/x", "/opt/data", "/run/postgresql", "/var/lib/x", "/srv", "/etcetera"]
)
@pytest.mark.parametrize("way", [by_preset, by_rest, by_plan])
def test_other_places_are_free(way: Callable[[str], object], target: str) -> None:
    way(target)


@pytest.mark.parametrize("target", ["/home/ann", "//home/ann/", "/home", "/home/ann/.config", "/home/ann/.ipython"])
def test_nothing_is_mounted_over_the_home_directory_or_what_is_put_into_it(target: str) -> None:
    with pytest.raises(MountForbidden) as caught:
        by_plan(target)
    assert caught.value.details["mount"] == target


def test_root_has_another_home() -> None:
    root = Settings(owner="r", uid=0, gid=0, username="root", run_root="/srv/run")
    with pytest.raises(MountForbidden):
        by_plan("/root", settings=root)
    by_plan("/home/ann/x", settings=root)


def test_nothing_is_put_into_a_project_that_is_the_home_directory() -> None:
    plan = planned(preset(), StartRequest("small", "/home/ann"), FACTS, ANN)
    assert plan.container.env["HOME"] == "/home/jupyter-mlenv"
    mine = [mount.target for mount in plan.container.mounts if mount.target != "/run/mlenv"]
    assert [file.path for file in plan.files if any(mounts.inside(file.path, target) for target in mine)] == []


@pytest.mark.parametrize("workspace", ["/home/ann/.config", "/opt/jupyter-mlenv/x", "/etc", "/home"])
def test_a_project_over_what_is_put_in_is_refused(workspace: str) -> None:
    with pytest.raises(MountForbidden):
        planned(preset(), StartRequest("small", workspace), FACTS, ANN)


def test_a_target_that_code_inside_could_swap_for_a_link_is_refused() -> None:
    with pytest.raises(MountForbidden, match="swap"):
        by_plan(f"{WORKSPACE}/data")
    by_plan(f"{WORKSPACE}/data", source=f"{WORKSPACE}/data")  # the same place, which is there anyway


def test_the_project_itself_is_replaced_by_nothing_else() -> None:
    with pytest.raises(MlenvError, match="project"):
        by_plan(WORKSPACE)
    read_only = StartRequest("small", WORKSPACE, mounts=(Mount(WORKSPACE, WORKSPACE, True),))
    made = planned(preset(), read_only, FACTS, ANN).container.mounts
    assert [mount.read_only for mount in made if mount.target == WORKSPACE] == [True]


def test_a_project_inside_of_a_mount_of_its_parent(tmp_path: Path) -> None:
    inner = os.path.join(tmp_path, "a", "b")
    by_plan(str(tmp_path), workspace=inner, source=str(tmp_path))
