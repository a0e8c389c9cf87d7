"""Builds with both builders: progress, failures that explain themselves, and cancels that leave nothing running."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.model import BuildRecipe, FileEntry
from jupyter_mlenv.errors import BuildFailed, EngineError, EngineUnavailable, ImageNotFound, RegistryUnreachable
from tests.support.docker import DOCKER_SOCKET, Relay, cleaning
from tests.support.leftovers import connect
from tests.support.logins import asking_for_a_login
from tests.support.reporting import Recorder
from tests.support.waiting import eventually, free_port


@pytest.fixture(params=["auto", "classic"])
async def engine(owner: str, request: pytest.FixtureRequest) -> AsyncIterator[DockerEngine]:
    async with cleaning(DockerEngine(builder=request.param), owner) as engine:
        assert (await engine.facts()).buildkit == (request.param == "auto")
        yield engine


@pytest.fixture
def mark() -> str:
    """A word that no other build or process has: it also keeps the build cache from knowing the step."""
    return f"mark{secrets.token_hex(6)}"


def recipe(owner: str, dockerfile: str, **fields: Any) -> BuildRecipe:
    fields.setdefault("tag", f"mlenv-{owner}/built:{secrets.token_hex(4)}")
    return BuildRecipe(dockerfile=dockerfile, labels={f"{LABEL}.owner": owner, "odd": 'a "b" $c'}, **fields)


def containers_running(mark: str) -> list[str]:
    """Also finds intermediate containers, which carry none of our labels."""
    client = connect()
    try:
        return [entry["Id"] for entry in client.containers(all=True) if mark in entry["Command"]]
    finally:
        client.close()


def processes(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    return [command for command in found if mark in command]


async def test_a_build_tells_its_steps_and_its_output(
    engine: DockerEngine, owner: str, base_image: str, mark: str
) -> None:
    wanted = recipe(owner, f"FROM {base_image}\nRUN echo out-{mark}; echo err-{mark} >&2\nRUN true {mark}\n", steps=3)
    recorder = Recorder()
    image = await engine.build(wanted, recorder)
    assert wanted.tag in image.tags
    assert image.labels[f"{LABEL}.owner"] == owner
    assert image.labels["odd"] == 'a "b" $c'
    assert {f"out-{mark}", f"err-{mark}"} <= set(recorder.lines)
    assert any(re.match(r"\[2/\d\] RUN", line) for line in recorder.lines)  # the classic builder counts labels too
    done = [step.current for step in recorder.steps]
    assert done == sorted(done)
    assert {step.phase for step in recorder.steps} == {"build"}
    assert {step.unit for step in recorder.steps if step.total} == {"steps"}
    assert any(step.message == f"RUN true {mark}" for step in recorder.steps)
    assert len({step.total for step in recorder.steps if step.total}) == 1
    again = Recorder()
    assert (await engine.build(wanted, again)).id == image.id
    assert f"out-{mark}" not in again.lines


async def test_context_files_ignores_arguments_and_target(
    engine: DockerEngine, owner: str, base_image: str, mark: str, tmp_path: Path
) -> None:
    for name in ("kept.txt", "left.log", "deep/kept.txt", "deep/secret.key"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# comment\n*.log\n**/*.key\n.dockerignore\nDockerfile\n")
    dockerfile = f"""\
FROM {base_image} AS wanted
ARG WORD=nothing
COPY . /context
RUN cd /context; echo "$WORD-{mark}"; find . -type f | sort; stat -c %a tool; ./tool
FROM wanted
RUN exit 1
"""
    (tmp_path / "Dockerfile").write_text(dockerfile)
    wanted = recipe(
        owner,
        dockerfile,
        context=str(tmp_path),
        dockerfile_path=str(tmp_path / "Dockerfile"),
        ignore_file=str(tmp_path / ".dockerignore"),
        files=(FileEntry("tool", b"#!/bin/sh\necho ran\n", 0o755),),
        target="wanted",
        args={"WORD": "given"},
    )
    recorder = Recorder()
    await engine.build(wanted, recorder)
    output = [line for line in recorder.lines if not line.startswith(("[", "CACHED", "exporting"))]
    files = [line for line in output if line.startswith("./")]
    assert f"given-{mark}" in output
    assert {"./kept.txt", "./deep/kept.txt", "./tool"} <= set(files)
    assert not {"./left.log", "./deep/secret.key", "./.mlenv.Dockerfile"} & set(files)
    assert output[-2:] == ["755", "ran"]


async def test_a_failing_step_is_named_with_its_last_lines(
    engine: DockerEngine, owner: str, base_image: str, mark: str
) -> None:
    script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; exit 3"
    with pytest.raises(BuildFailed) as caught:
        await engine.build(recipe(owner, f"FROM {base_image}\nRUN : {mark}; {script}\nRUN echo never\n"), Recorder())
    error = caught.value
    assert re.match(rf"\[2/\d\] RUN : {mark}", error.details["step"])
    assert error.details["exit_code"] == 3
    assert list(error.log) == [f"line {i}" for i in range(11, 31)]
    assert mark in error.message
    assert error.hint
    assert containers_running(mark) == []


async def test_a_cancelled_build_stops_at_once(engine: DockerEngine, owner: str, base_image: str, mark: str) -> None:
    wanted = recipe(owner, f"FROM {base_image}\nRUN echo begun-{mark}; sleep 300; : {mark}\n")
    recorder = Recorder()
    building = asyncio.create_task(engine.build(wanted, recorder))
    await eventually(lambda: building.done() or f"begun-{mark}" in recorder.lines, "the step runs")
    assert processes(mark)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await eventually(lambda: not processes(mark), "the step's processes are gone")
    await eventually(lambda: not containers_running(mark), "its container is gone")
    assert await engine.image(wanted.tag) is None


async def test_an_engine_that_goes_away_in_the_middle_of_a_build(
    engine: DockerEngine, owner: str, base_image: str, mark: str, tmp_path: Path
) -> None:
    relay = Relay(DOCKER_SOCKET)
    builder = "auto" if (await engine.facts()).buildkit else "classic"
    watched = DockerEngine(await relay.listen_unix(tmp_path / "s"), builder=builder)  # type: ignore[arg-type]
    recorder = Recorder()
    wanted = recipe(owner, f"FROM {base_image}\nRUN echo begun-{mark}; sleep 300; : {mark}\n")
    try:
        building = asyncio.create_task(watched.build(wanted, recorder))
        await eventually(lambda: building.done() or f"begun-{mark}" in recorder.lines, "the step runs")
        await relay.cut()
        with pytest.raises(EngineUnavailable):
            await building
    finally:
        await watched.close()
    await eventually(lambda: not processes(mark), "the step's processes are gone")


async def test_a_mistake_in_the_dockerfile_is_a_failed_build(engine: DockerEngine, owner: str, base_image: str) -> None:
    with pytest.raises(BuildFailed, match=r"unknown instruction: FLY"):
        await engine.build(recipe(owner, f"FROM {base_image}\nFLY away\n"), Recorder())


async def test_a_file_that_is_not_in_the_context_is_a_failed_build(
    engine: DockerEngine, owner: str, base_image: str
) -> None:
    with pytest.raises(BuildFailed) as caught:
        await engine.build(recipe(owner, f"FROM {base_image}\nCOPY not-there /x\n"), Recorder())
    assert re.fullmatch(r"\[2/\d\] COPY not-there /x", caught.value.details["step"])


async def test_a_context_that_is_not_there_is_named(engine: DockerEngine, owner: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=str(tmp_path / "gone")):
        await engine.build(recipe(owner, "FROM scratch\n", context=str(tmp_path / "gone")), Recorder())


async def test_a_base_image_that_does_not_exist(engine: DockerEngine, owner: str, registry: str) -> None:
    base = f"{registry}/nobody/nothing:1"
    with pytest.raises(ImageNotFound) as caught:
        await engine.build(recipe(owner, f"FROM {base}\nRUN true\n"), Recorder())
    assert caught.value.details["image"] == base


async def test_a_base_image_whose_registry_does_not_answer(engine: DockerEngine, owner: str) -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(RegistryUnreachable) as caught:
        await engine.build(recipe(owner, f"FROM {host}/some/image:1\nRUN true\n"), Recorder())
    assert caught.value.details["registry"] == host
    assert "image_aliases" in caught.value.hint


async def test_a_private_base_image_is_asked_for_with_the_login(
    engine: DockerEngine, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking_for_a_login() as (host, logins):
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "dXNlcjpwYXNzd29yZA=="}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises((ImageNotFound, RegistryUnreachable)):
            await engine.build(recipe(owner, f"FROM {host}/private/base:1\nRUN true\n"), Recorder())
    assert "Basic dXNlcjpwYXNzd29yZA==" in logins


async def test_a_folder_that_is_swapped_for_a_link_is_never_followed_into_an_image(
    engine: DockerEngine, owner: str, tmp_path: Path
) -> None:
    """What code in an environment of the same workspace can do all the time while its image is built."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key").write_text("SECRET-OF-THE-PERSON")
    context = tmp_path / "work"
    (context / "z").mkdir(parents=True)
    (context / "z" / "key").write_text("mine")
    (context / "large").write_bytes(b"x" * (4 << 20))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            with suppress(OSError):
                (context / "z").rename(context / "away")
                (context / "z").symlink_to(tmp_path / "home")
                (context / "z").unlink()
                (context / "away").rename(context / "z")

    attacker = threading.Thread(target=swap)
    attacker.start()
    build = recipe(owner, "FROM scratch\nCOPY z* away* /\nCOPY large /large\n", context=str(context))
    try:
        for _ in range(12):
            with suppress(EngineError):  # one that changed under our hands is refused
                await engine.build(build, Recorder())
                assert b"SECRET-OF-THE-PERSON" not in saved(build.tag)
    finally:
        stop.set()
        attacker.join()
    for name in ("z", "away"):
        if (context / name).is_symlink():
            (context / name).unlink()
    await engine.build(build, Recorder())
    assert b"mine" in saved(build.tag)


def saved(reference: str) -> bytes:
    """What `docker save` gives; the engine does not compress it."""
    with closing(connect()) as client:
        return b"".join(client.get_image(reference))
