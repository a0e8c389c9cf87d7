"""Requests in the engine's words, and answers in ours, without an engine."""

from __future__ import annotations

import gc
import os
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jupyter_mlenv.engines import gpus
from jupyter_mlenv.engines.docker import calls
from jupyter_mlenv.engines.docker.containers import (
    applied_resources,
    create_body,
    device_request,
    from_inspect,
    from_list,
)
from jupyter_mlenv.engines.docker.context import MAX_BYTES, MAX_BYTES_IN_MEMORY, OWN_DOCKERFILE, write_context
from jupyter_mlenv.engines.docker.images import label_changes
from jupyter_mlenv.engines.model import BuildRecipe, ContainerSpec, FileEntry, Resources
from jupyter_mlenv.errors import EngineError


def body(**fields: object) -> dict[str, object]:
    spec = ContainerSpec(name="n", image="i", command=("c",), **fields)  # type: ignore[arg-type]
    return create_body(spec, publish_host="127.0.0.1", swap_accounting=True)


def test_a_user_keeps_no_capability_and_root_keeps_those_for_files() -> None:
    assert body(user="1000:1000")["HostConfig"]["CapDrop"] == ["ALL"]  # type: ignore[index]
    for user in ("", "0", "0:0", "root"):
        dropped = body(user=user)["HostConfig"]["CapDrop"]  # type: ignore[index]
        assert "NET_RAW" in dropped
        assert not {"ALL", "CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"} & set(dropped)


def test_no_limit_is_set_that_was_not_asked_for() -> None:
    host = body()["HostConfig"]
    assert not {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "ShmSize", "DeviceRequests"} & set(host)  # type: ignore[arg-type]
    spec = ContainerSpec(name="n", image="i", command=("c",), resources=Resources(memory=5))
    assert "MemorySwap" not in create_body(spec, publish_host="", swap_accounting=False)["HostConfig"]


@pytest.mark.parametrize("text", ["all", "2", "device=0,1", "device=GPU-3a"])
def test_gpu_requests_there_and_back(text: str) -> None:
    asked = gpus.parse(text)
    assert applied_resources({"DeviceRequests": [device_request(asked)]}).gpus == asked
    assert asked.to_text() == text


INSPECTED: dict[str, object] = {
    "Id": "c" * 64,
    "Name": "/mlenv-a",
    "Created": "2026-11-21T10:19:33.123456789Z",
    "State": {"Status": "exited", "StartedAt": "2026-11-21T11:19:34.5+01:00", "FinishedAt": "2026-11-21T10:20:00Z"},
    "Config": {"Labels": {"a": "b"}, "Image": "i"},
}


def test_times_are_read_where_the_engine_says_them() -> None:
    info = from_inspect(INSPECTED)
    assert info.created == datetime(2026, 11, 21, 10, 19, 33, tzinfo=timezone.utc)
    assert info.started == datetime(2026, 11, 21, 10, 19, 34, 500_000, tzinfo=timezone.utc)
    assert from_list({"Id": "c", "Created": 1795256373}).created == info.created
    state = {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}
    made = from_inspect({**INSPECTED, "State": state, "Created": "yesterday"})
    assert (made.created, made.started, made.exit_code) == (None, None, None)


@pytest.mark.parametrize(
    "odd", [{}, {"State": None}, {"State": {}}, {"Config": 7}, {"Name": None}, {"NetworkSettings": {"Networks": [1]}}]
)
def test_a_container_in_no_known_form_is_an_error_of_the_engine(odd: dict[str, object]) -> None:
    with pytest.raises(EngineError, match="form that is not known"):
        from_inspect({**INSPECTED, **odd} if odd else {})
    with pytest.raises(EngineError, match="form that is not known"):
        from_list({"Names": ["/a"]})


def test_one_container_in_no_known_form_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Client:
        def containers(self, **options: object) -> list[object]:
            return [{"Id": "a", "Created": "x"}, {"Names": 7}, None, {"Id": "b", "State": "configured", "Labels": None}]

    found = calls.containers(Client(), {})  # type: ignore[arg-type]
    assert [(info.id, info.status, info.labels) for info in found] == [("a", "created", {}), ("b", "configured", {})]
    assert caplog.text.count("is left out") == 2


def test_labels_as_instructions() -> None:
    assert label_changes({"a.b": 'x "y" \\ $z'}) == ['LABEL "a.b"="x \\"y\\" \\\\ \\$z"']


def names(recipe: BuildRecipe) -> tuple[list[str], str]:
    content, dockerfile = write_context(recipe)
    with content, tarfile.open(fileobj=content) as tar:
        return tar.getnames(), dockerfile


def test_the_dockerfile_replaces_the_one_it_was_read_from(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Train.Dockerfile").write_text("FROM x\n")
    (tmp_path / "Dockerfile").write_text("FROM other\n")
    path = str(tmp_path / "docker" / "Train.Dockerfile")
    found, dockerfile = names(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path), dockerfile_path=path))
    assert dockerfile == "docker/Train.Dockerfile"
    assert sorted(found) == ["Dockerfile", "docker", "docker/Train.Dockerfile"]


def test_a_generated_dockerfile_hides_no_file_of_the_context(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM other\n")
    found, dockerfile = names(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)))
    assert dockerfile == ".mlenv.Dockerfile"
    assert sorted(found) == [".mlenv.Dockerfile", "Dockerfile"]


def test_a_dockerfile_that_is_left_out_is_sent_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (tmp_path / ".dockerignore").write_text("*\n")
    recipe = BuildRecipe("t:1", "FROM x\n", context=str(tmp_path), dockerfile_path=str(tmp_path / "Dockerfile"))
    assert names(recipe) == (["Dockerfile"], "Dockerfile")


def test_a_pattern_that_docker_refuses_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*.log\n[z-a]\n")
    with pytest.raises(EngineError, match=r"in .*/\.dockerignore, line 2 .*\[z-a\]") as raised:
        write_context(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)))
    assert "Correct " in raised.value.hint


def test_ignored_files_stay_out_and_given_ones_win(tmp_path: Path) -> None:
    for name in ("a.txt", "b.log", "keep.log", ".git"):
        (tmp_path / name).write_text("from the folder")
    (tmp_path / ".dockerignore").write_text("\ufeff# no logs\n*.log\n!keep.log\n\n.git\n")
    recipe = BuildRecipe("t:1", "FROM x\n", context=str(tmp_path), files=(FileEntry("/a.txt", b"given"),))
    content, _ = write_context(recipe)
    with content, tarfile.open(fileobj=content) as tar:
        assert sorted(tar.getnames()) == [".dockerignore", ".mlenv.Dockerfile", "a.txt", "keep.log"]
        file = tar.extractfile("a.txt")
        assert file is not None
        assert file.read() == b"given"
        assert {member.uid for member in tar} == {0}


def test_a_large_context_goes_to_a_file_and_starts_like_a_tar(tmp_path: Path) -> None:
    (tmp_path / ("long" * 60)).write_bytes(b"x" * (MAX_BYTES_IN_MEMORY + 1))
    content, _ = write_context(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)))
    with content:
        assert getattr(content, "_rolled")  # noqa: B009 - what says that it left memory
        head = content.read(1024)
    # BuildKit looks at the first KiB only: it has to be an ordinary header.
    assert tarfile.TarInfo.frombuf(head[:512], "utf-8", "strict").type == tarfile.REGTYPE


def test_giving_up_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(EngineError, match="given up"):
        write_context(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)), lambda: True)


def test_links_are_sent_as_links_and_pipes_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key").write_text("KEY")
    context = tmp_path / "context"
    context.mkdir()
    (context / "z").symlink_to(tmp_path / "out")
    os.mkfifo(context / "pipe")
    content, _ = write_context(BuildRecipe("t:1", "FROM x\n", context=str(context)))
    with content, tarfile.open(fileobj=content) as tar:
        assert {member.name: member.linkname for member in tar} == {OWN_DOCKERFILE: "", "z": str(tmp_path / "out")}


@pytest.mark.parametrize("replaced", ["link", "pipe"])
def test_a_folder_that_is_swapped_while_a_large_file_is_read_shows_nothing(tmp_path: Path, replaced: str) -> None:
    """What code in an environment of the same workspace does: it waits until the file before is read."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key").write_text("KEY")
    context = tmp_path / "context"
    (context / "z").mkdir(parents=True)
    (context / "z" / "key").write_text("mine")
    (context / "a-large-one").write_bytes(b"x" * (1 << 20))
    done = []

    def swap() -> bool:
        done.append(len(done))
        if len(done) == 20:  # in the middle of the large file
            (context / "z" / "key").unlink()
            (context / "z").rmdir()
            (context / "z").symlink_to(tmp_path / "out") if replaced == "link" else os.mkfifo(context / "z")
        return False

    content, _ = write_context(BuildRecipe("t:1", "FROM x\n", context=str(context)), swap)
    with content, tarfile.open(fileobj=content) as tar:
        assert len(done) > 20, "it was swapped"
        assert "z/key" not in tar.getnames()
    content, _ = write_context(BuildRecipe("t:1", "FROM x\n", context=str(context)))
    with content:
        assert b"KEY" not in content.read()


def test_a_context_that_a_link_leads_out_of_the_workspace_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "work" / "docker").symlink_to("../out")
    recipe = BuildRecipe("t:1", "FROM x\n", context=str(tmp_path / "work" / "docker"), root=str(tmp_path / "work"))
    with pytest.raises(EngineError, match="a link in its path leads out"):
        write_context(recipe)


def test_a_context_of_any_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(EngineError, match="20 GiB") as caught:
        write_context(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)))
    assert "sparse" in caught.value.message
    assert ".dockerignore" in caught.value.hint
    (tmp_path / ".dockerignore").write_text("sparse\n")
    assert names(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)))[0] == [".mlenv.Dockerfile", ".dockerignore"]


def test_a_file_that_changes_its_size_while_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 100_000)
    changes = iter([None, None, 200_000, None])
    recipe = BuildRecipe("t:1", "FROM x\n", context=str(tmp_path))

    def change() -> bool:
        size = next(changes, None)
        if size is not None:
            os.truncate(file, size)
        return False

    content, _ = write_context(recipe, change)
    with content, tarfile.open(fileobj=content) as tar:
        assert tar.getmember("log").size in (100_000, 200_000), "whole, as it was or as it is"
    changes = iter([None, None, 10, None])
    with pytest.raises(EngineError, match="log of the build context cannot be read: it became shorter"):
        write_context(recipe, change)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("Exited (137) 5 minutes ago", 137),
        ("Exited (0) 2 weeks ago", 0),
        ("Up 3 hours", None),
        ("Created", None),
        ("", None),
    ],
)
def test_a_list_tells_exit_codes(status: str, code: int | None) -> None:
    assert from_list({"Id": "i", "Names": ["/n"], "State": "exited", "Status": status}).exit_code == code


def test_a_large_context_gives_the_garbage_collector_nothing_to_look_at(tmp_path: Path) -> None:
    """Looking at a few objects for each of 200,000 files, it stops every thread for 70 ms."""
    for number in range(3000):
        (tmp_path / str(number)).touch()
    tracked: list[int] = []

    def count() -> bool:
        if len(tracked) < 5000 and len(tracked) % 500 == 0:
            gc.collect()
            tracked.append(len(gc.get_objects()))
        else:
            tracked.append(0)
        return False

    gc.freeze()  # what is there already is not looked at
    try:
        content, _ = write_context(BuildRecipe("t:1", "FROM x\n", context=str(tmp_path)), count)
    finally:
        gc.unfreeze()
    content.close()
    counted = [number for number in tracked if number]
    assert len(counted) > 5
    assert counted[-1] - counted[0] < 500
