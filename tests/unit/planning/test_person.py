"""The person inside a container is who they are outside."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from jupyter_mlenv.engines.base import EngineFacts
from jupyter_mlenv.engines.docker import containers
from jupyter_mlenv.engines.model import FileEntry, Mount
from jupyter_mlenv.errors import MountForbidden
from jupyter_mlenv.planning import git, person, shared_folders, timezone
from jupyter_mlenv.planning.model import Plan
from jupyter_mlenv.settings import Settings
from tests.unit.planning.test_plan import ANN, LOCAL, make, preset

PROJECT = "/home/ann/project"


def put(plan: Plan) -> dict[str, FileEntry]:
    return {file.path: file for file in plan.files}


def text(plan: Plan, path: str) -> str:
    return (put(plan)[path].data or b"").decode()


def test_the_persons_groups_are_there_with_their_names() -> None:
    ann = dataclasses.replace(ANN, groups=((4242, "lab"), (4243, "domain users"), (0, "root")))
    plan = make(preset(), ann)
    assert plan.container.groups == (4242, 4243, 0)
    assert {"lab:x:4242:ann", "group4243:x:4243:ann"} < set(text(plan, "/etc/group").splitlines())
    assert text(plan, "/etc/group").count("root:") == 1
    body = containers.create_body(plan.container, publish_host="127.0.0.1", swap_accounting=True)
    assert body["HostConfig"]["GroupAdd"] == ["4242", "4243", "0"]
    # Another shell of the same person asks for the same.
    assert plan.hash == make(preset(), dataclasses.replace(ANN, umask=0o007, timezone="Asia/Tokyo")).hash


def test_a_rootless_engine_has_none_of_these_groups() -> None:
    ann = dataclasses.replace(ANN, groups=((4242, "lab"),))
    assert person.inside(ann, EngineFacts("docker", "28", "unix:///x", rootless=True)).groups == ()


def test_the_umask_is_the_persons() -> None:
    assert make(preset(), dataclasses.replace(ANN, umask=0o007)).container.command[-2:] == ("--umask", "007")


@pytest.mark.parametrize(
    "home",
    ["/srv/users/ann", "/home/DOM\\ann", "/home/ann@example.org", "/home/jim j", "/root"],
)
def test_the_home_directory_is_where_it_is_outside(home: str) -> None:
    plan = make(preset(), dataclasses.replace(ANN, home=home))
    assert plan.container.env["HOME"] == home
    assert f"ann:x:1000:1001:ann:{home}:/bin/sh" in text(plan, "/etc/passwd").splitlines()
    assert (put(plan)[home].mode, put(plan)[home].uid) == (0o700, 1000)


@pytest.mark.parametrize(
    "home", ["", "/", "/tmp", "/home", "/nonexistent", "/etc/ann", "/proc/self", "/dev/null", "/run/mlenv"]
)
def test_a_home_directory_that_no_container_can_have_is_another_one(home: str) -> None:
    assert person.home(dataclasses.replace(ANN, home=home), PROJECT) == "/home/ann"


def test_the_home_directory_lies_in_nothing_that_is_mounted() -> None:
    ann = dataclasses.replace(ANN, home="/data/ann")
    assert person.home(ann, "/data/ann") == "/home/ann"
    assert person.home(ann, "/p", [Mount("/data", "/data")]) == "/home/ann"
    assert person.home(ann, "/home/ann", [Mount("/data", "/data")]) == person.OTHER_HOME


def test_folders_on_the_way_to_a_mount_in_the_home_directory_are_the_persons() -> None:
    plan = make(
        preset(),
        workspace="/home/ann/projects/deep/project",
        mounts=(
            Mount("/srv/hub", "/home/ann/.cache/huggingface"),
            Mount("/srv/hub/a/b", "/home/ann/.cache/huggingface/a/b"),
        ),
    )
    theirs = {path for path, file in put(plan).items() if file.data is None and file.uid == 1000}
    assert {"/home/ann/projects", "/home/ann/projects/deep", "/home/ann/.cache"} < theirs
    # In a mount, and at one, the engine would write to this machine.
    assert not [
        path for path in put(plan) if path.startswith(("/home/ann/.cache/huggingface", "/home/ann/projects/deep/"))
    ]


def test_git_knows_name_and_e_mail_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "home"
    own.mkdir()
    (own / ".gitconfig").write_text(
        '[user]\n\tname = Ann "the \\\\ one" Lee\n\temail = ann@home.test\n\tsigningkey = secret\n'
        '[credential]\n\thelper = store\n[includeIf "gitdir:~/office/"]\n\tpath = ~/office.inc\n'
    )
    (own / "office.inc").write_text("[user]\n\temail = ann@office.test\n")
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of-a-hook"))
    project = own / "office" / "project"
    project.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(project)], check=True, env={"PATH": os.environ["PATH"]})
    assert git.identity(str(tmp_path)) == ("Ann the \\ one Lee", "ann@home.test")
    assert git.identity(str(project))[1] == "ann@office.test"

    plan = make(preset())
    written = tmp_path / "inside"
    written.write_bytes(put(plan)["/home/ann/.gitconfig"].data or b"")
    listed = subprocess.run(["git", "config", "-f", str(written), "--list"], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == ["user.name=Ann the \\ one Lee", "user.email=ann@home.test"]
    assert "/home/ann/.gitconfig" not in put(make(preset(), dataclasses.replace(ANN, git_identity=False)))


@pytest.mark.parametrize("name", ['O"Neil', "back\\slash", "  two  ", "# no comment; really", "größe"])
def test_any_name_arrives_whole(name: str, tmp_path: Path) -> None:
    entries = person.files(ANN, "/home/ann", [], (name, ""))
    (tmp_path / "config").write_bytes(next(file.data or b"" for file in entries if file.path.endswith(".gitconfig")))
    asked = ["git", "config", "-f", str(tmp_path / "config"), "user.name"]
    assert subprocess.run(asked, capture_output=True, check=True).stdout.decode() == f"{name}\n"


def test_the_time_zone_is_this_machines_unless_the_preset_says_another() -> None:
    tokyo = dataclasses.replace(ANN, timezone="Asia/Tokyo")
    plan = make(preset(), tokyo)
    assert plan.container.env["TZ"] == "Asia/Tokyo"
    # An image may know no time zones: the file comes along, in folders that everybody may enter.
    assert put(plan)["/usr/share/zoneinfo/Asia/Tokyo"].data == Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes()
    assert put(plan)["/usr/share/zoneinfo/Asia"].mode == 0o755
    own = make(dataclasses.replace(preset(), env={"TZ": "Europe/Paris"}), tokyo)
    assert b"TZ=Europe/Paris\0" in (put(own)["/opt/jupyter-mlenv/environ"].data or b"")
    assert "/usr/share/zoneinfo/Europe/Paris" in put(own)
    assert "TZ" not in make(preset()).container.env


@pytest.mark.parametrize("name", ["JST-9", "../../etc/passwd", "/etc/passwd", "Asia/Nowhere", "Asia", "", "tzdata.zi"])
def test_what_is_no_zone_of_the_database_brings_no_file(name: str) -> None:
    assert timezone.read(name) is None


def shared(tmp_path: Path, *folders: str) -> Settings:
    return dataclasses.replace(ANN, home=str(tmp_path), shared_folders=folders)


def test_shared_folders_are_at_the_same_place_inside(tmp_path: Path) -> None:
    settings = shared(tmp_path, ".cache/huggingface", ".cache/huggingface/hub")
    plan = make(preset(), settings)
    mount = Mount(f"{tmp_path}/.cache/huggingface", f"{tmp_path}/.cache/huggingface")
    assert [m for m in plan.container.mounts if ".cache" in m.target] == [mount]
    assert (tmp_path / ".cache/huggingface").is_dir()
    assert put(plan)[f"{tmp_path}/.cache"].uid == 1000


@pytest.mark.parametrize("folder", [".ipython", ".ipython/profile_default"])
def test_a_folder_that_we_put_files_into_is_not_shared(tmp_path: Path, folder: str) -> None:
    """The engine would write them into the person's own folder."""
    with pytest.raises(MountForbidden, match="is put into every container") as caught:
        make(preset(), shared(tmp_path, folder))
    assert "MlenvConfig.shared_folders" in caught.value.hint


def test_no_environment_can_lead_a_shared_folder_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "two").symlink_to(tmp_path / "keys")
    with pytest.raises(MountForbidden, match="is a link"):
        shared_folders.mounts(shared(tmp_path, "one/two"), str(tmp_path), [str(tmp_path / "one")])


def test_a_preset_for_a_local_engine_is_as_it_was() -> None:
    """Without knowledge of the person there is nothing new in a container."""
    plan = make(preset(), facts=LOCAL)
    assert plan.container.groups == ()
    assert "TZ" not in plan.container.env
    assert not [path for path in put(plan) if path.startswith("/usr/")]
