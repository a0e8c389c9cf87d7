"""Pulls from a real registry, from a slow one, and from one that never answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.docker.containers import pack
from jupyter_mlenv.engines.model import BuildRecipe, FileEntry
from jupyter_mlenv.errors import ImageNotFound, RegistryUnreachable
from tests.support.docker import Relay, cleaning
from tests.support.leftovers import connect
from tests.support.logins import asking_for_a_login
from tests.support.reporting import Recorder
from tests.support.waiting import eventually, free_port

LAYER = 3 << 20
LAYERS = 4


@pytest.fixture
async def engine(owner: str) -> AsyncIterator[DockerEngine]:
    async with cleaning(DockerEngine(), owner) as engine:
        yield engine


@pytest.fixture
async def pushed(engine: DockerEngine, registry: str, owner: str) -> str:
    """`name:tag` in the registry of an image of four incompressible layers, which the engine does not have."""
    reference = f"{registry}/mlenv-test/layers:1"
    files = tuple(FileEntry(f"f{i}", os.urandom(LAYER)) for i in range(LAYERS))
    text = "FROM scratch\n" + "".join(f"COPY f{i} /f{i}\n" for i in range(LAYERS))
    labels = {f"{LABEL}.owner": owner}
    classic = DockerEngine(builder="classic")  # BuildKit's cache would keep the layers on the engine
    try:
        await classic.build(BuildRecipe(tag=reference, dockerfile=text, files=files, labels=labels), Recorder())
    finally:
        await classic.close()

    def push() -> str:
        with closing(connect()) as client:
            return str(client.push(reference))

    assert "errorDetail" not in await asyncio.to_thread(push)
    await engine.remove_image(reference)
    assert await engine.image(reference) is None
    return "mlenv-test/layers:1"


async def test_a_pull_counts_bytes_and_never_goes_back(engine: DockerEngine, registry: str, pushed: str) -> None:
    recorder = Recorder()
    reference = f"{registry}/{pushed}"
    image = await engine.pull(reference, recorder)
    assert reference in image.tags
    assert LAYERS * LAYER <= image.size < LAYERS * LAYER + 100_000
    shares = [step.fraction for step in recorder.steps if step.fraction is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    last = recorder.steps[-1]
    assert (last.phase, last.unit) == ("pull", "bytes")
    assert LAYERS * LAYER <= last.total < LAYERS * LAYER + 100_000
    assert any("of 4 layers" in step.message for step in recorder.steps)
    assert sum(line.endswith("Pull complete") for line in recorder.lines) == LAYERS
    assert len(recorder.lines) < 30
    again = Recorder()
    await engine.pull(reference, again)
    assert any("up to date" in line for line in again.lines)


async def test_an_image_that_the_registry_does_not_have(engine: DockerEngine, registry: str, pushed: str) -> None:
    for name in ("mlenv-test/layers:other", "mlenv-test/nothing:1"):
        with pytest.raises(ImageNotFound) as caught:
            await engine.pull(f"{registry}/{name}", Recorder())
        assert caught.value.details["image"] == f"{registry}/{name}"
        assert caught.value.details["registry"] == registry


async def test_a_registry_where_nothing_listens(engine: DockerEngine) -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(RegistryUnreachable) as caught:
        await engine.pull(f"{host}/some/image:1", Recorder())
    assert caught.value.details["registry"] == host
    assert f"'{host}'" in caught.value.hint


async def test_a_cancelled_pull_stops_the_download(engine: DockerEngine, registry: str, pushed: str) -> None:
    host, _, port = registry.partition(":")
    slow = Relay((host, int(port)), rate=500_000)
    reference = f"127.0.0.1:{await slow.listen_tcp()}/{pushed}"
    recorder = Recorder()
    try:
        pulling = asyncio.create_task(engine.pull(reference, recorder))
        await eventually(lambda: pulling.done() or any(s.current for s in recorder.steps), "bytes arrive")
        assert not pulling.done()
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        await eventually(lambda: slow.open == 0, "the engine has let go of the registry")
        assert await engine.image(reference) is None
    finally:
        await slow.cut()


async def test_a_pull_can_be_cancelled_before_the_registry_answers(engine: DockerEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reference = f"127.0.0.1:{silent.getsockname()[1]}/some/image:1"
        pulling = asyncio.create_task(engine.pull(reference, Recorder()))
        silent.setblocking(False)
        accepted, _ = await asyncio.get_running_loop().sock_accept(silent)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        # While the registry is still silent: the thread's last instructions may come after its word that it is done.
        await eventually(lambda: not any("stream" in thread.name for thread in threading.enumerate()), "no thread left")
        accepted.close()


async def test_the_login_of_the_docker_configuration_is_used(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking_for_a_login() as (host, logins):
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": "dXNlcjpwYXNzd29yZA=="}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(ImageNotFound):
            await engine.pull(f"{host}/private/image:1", Recorder())
    assert "Basic dXNlcjpwYXNzd29yZA==" in logins


async def test_an_image_is_made_from_a_tar_of_a_few_bytes(engine: DockerEngine, owner: str, tmp_path: Path) -> None:
    tar = pack([FileEntry("/sbin", None, 0o755), FileEntry("/etc/hello", b"hello")])
    labels = {f"{LABEL}.owner": owner, "odd": 'a "b" \\ $c'}
    reference = f"mlenv-{owner}/tiny:1"
    image = await engine.import_image(reference, tar, labels)
    assert image.size == 5
    assert image.labels == labels
    assert [found.id for found in await engine.images({f"{LABEL}.owner": owner, "odd": ""})] == [image.id]
    (tmp_path / "root.tar").write_bytes(tar)
    from_file = await engine.import_image(f"mlenv-{owner}/tiny:2", tmp_path / "root.tar", labels)
    assert from_file.size == 5
    await engine.remove_image(reference)
    await engine.remove_image(reference)
    assert await engine.image(reference) is None
