"""What an engine is asked for it does, and says so in the same words whichever engine it is."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from contextlib import aclosing
from pathlib import Path

import pytest

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.base import ContainerInfo, Engine, FileMissing
from jupyter_mlenv.engines.gpus import EVERY
from jupyter_mlenv.engines.model import BuildRecipe, FileEntry, Mount, Resources
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import (
    BuildFailed,
    ContainerNotFound,
    GpuUnavailable,
    ImageNotFound,
    NameConflict,
)
from jupyter_mlenv.planning.model import StartRequest
from tests.support.docker import make_spec
from tests.support.environments import opened
from tests.support.reporting import Recorder
from tests.support.waiting import eventually

SLEEP = ("sleep", "300")


async def ended(engine: Engine, id: str) -> ContainerInfo:
    async def over() -> ContainerInfo | None:
        info = await engine.inspect(id)
        return info if info.status == "exited" else None

    found = await eventually(over, "it has ended")
    assert found is not None
    return found


async def test_it_says_what_it_is(engine: Engine, kind: str) -> None:
    facts = await engine.facts()
    assert facts.kind == kind
    assert facts.version
    assert facts.shares_filesystem
    assert facts.cpus > 0
    assert await engine.storage() is not None
    assert isinstance(await engine.build_cache(), int)


async def test_the_life_of_a_container_has_one_set_of_words(engine: Engine, owner: str, image: str) -> None:
    made = await engine.create(make_spec(owner, image, "life", SLEEP))
    assert (made.status, made.exit_code, made.started) == ("created", None, None)
    started = await engine.start(made.id)
    assert started.status == "running"
    assert started.started is not None
    assert (await engine.start(made.id)).status == "running"
    [listed] = await engine.list({f"{LABEL}.owner": owner})
    assert (listed.id, listed.name, listed.status) == (made.id, f"mlenv-{owner}-life", "running")
    await engine.stop(made.id, 5)
    stopped = await engine.inspect(made.id)
    assert stopped.status == "exited"
    assert stopped.exit_code in (137, 143)
    [listed] = await engine.list({f"{LABEL}.owner": owner})
    assert (listed.status, listed.exit_code) == ("exited", stopped.exit_code)
    await engine.stop(made.id, 5)
    await engine.start(made.id)
    await engine.remove(made.id)
    await engine.remove(made.id)
    with pytest.raises(ContainerNotFound):
        await engine.inspect(made.id)


async def test_a_crash_has_its_exit_code_and_its_output(engine: Engine, owner: str, image: str) -> None:
    made = await engine.create(make_spec(owner, image, "crash", ("sh", "-c", "echo one; echo two >&2; exit 7")))
    await engine.start(made.id)
    assert (await ended(engine, made.id)).exit_code == 7
    assert sorted([line async for line in engine.logs(made.id)]) == ["one", "two"]


async def test_a_name_is_a_lock(engine: Engine, owner: str, image: str) -> None:
    await engine.create(make_spec(owner, image, "one", SLEEP))
    with pytest.raises(NameConflict):
        await engine.create(make_spec(owner, image, "one", SLEEP))
    with pytest.raises(ImageNotFound):
        await engine.create(make_spec(owner, "mlenv/no-such-image:0", "two", SLEEP))


async def test_limits_are_applied_and_read_back(engine: Engine, owner: str, image: str) -> None:
    asked = Resources(memory=200 << 20, cpus=0.5, pids=64, shm=32 << 20)
    made = await engine.create(make_spec(owner, image, "limits", SLEEP, resources=asked))
    started = await engine.start(made.id)
    ignored = (await engine.facts()).ignored
    for name in ("memory", "cpus", "pids", "shm"):
        if name not in ignored:
            assert getattr(started.applied, name) == getattr(asked, name), name


async def test_gpus_are_given_or_refused_and_never_left_out(engine: Engine, owner: str, image: str) -> None:
    async def start() -> None:
        made = await engine.create(make_spec(owner, image, "gpu", SLEEP, resources=Resources(gpus=EVERY)))
        await engine.start(made.id)

    with pytest.raises(GpuUnavailable):
        await start()


async def test_user_groups_files_and_mounts(engine: Engine, owner: str, image: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    look = "id -u; id -g; id -G; cat /opt/put; stat -c %u:%a /opt/put; touch /data/made; touch /ro/x || echo read-only"
    spec = make_spec(
        owner,
        image,
        "files",
        ("sh", "-c", look),
        user="12345:12346",
        groups=(4242,),
        workdir="/opt",
        mounts=(Mount(str(tmp_path / "data"), "/data"), Mount(str(tmp_path), "/ro", read_only=True)),
    )
    made = await engine.create(spec)
    await engine.put_files(made.id, [FileEntry("/opt/put", b"text\n", 0o640, 12345, 12346)])
    await engine.start(made.id)
    await ended(engine, made.id)
    lines = [line async for line in engine.logs(made.id) if "cannot touch" not in line]
    assert lines[:2] == ["12345", "12346"]
    assert set(lines[2].split()) == {"12346", "4242"}
    assert lines[3:] == ["text", "12345:640", "read-only"]
    assert (tmp_path / "data" / "made").stat().st_uid == 12345
    assert await engine.read_file(made.id, "/opt/put") == b"text\n"
    with pytest.raises(FileMissing):
        await engine.read_file(made.id, "/opt/nothing")


async def test_what_is_to_look_empty_is_empty(engine: Engine, owner: str, image: str, tmp_path: Path) -> None:
    """Settings below a prefix that is mounted; an engine that copies them into its tmpfs would show them."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "secret").write_text("canary")
    (tmp_path / "pip.conf").write_text("canary")
    (tmp_path / "kept").write_text("kept")
    spec = make_spec(
        owner,
        image,
        "empty",
        ("sh", "-c", "cat /p/etc/* /p/pip.conf /p/kept 2>/dev/null; ls /p/etc"),
        mounts=(Mount(str(tmp_path), "/p", read_only=True),),
        empty_folders=("/p/etc",),
        empty_files=("/p/pip.conf",),
    )
    made = await engine.create(spec)
    await engine.start(made.id)
    assert (await ended(engine, made.id)).exit_code == 0
    assert "".join([line async for line in engine.logs(made.id)]) == "kept"


async def test_events_tell_of_every_change(engine: Engine, owner: str, image: str) -> None:
    heard: list[tuple[str, int | None]] = []
    ready = asyncio.Event()

    async def listen() -> None:
        async with aclosing(engine.events()) as events:
            async for event in events:
                if event.kind == "connected":
                    ready.set()
                elif event.environment == f"heard-{owner}":
                    heard.append((event.kind, event.exit_code))

    task = asyncio.create_task(listen())
    await asyncio.wait_for(ready.wait(), 60)
    labels = {f"{LABEL}.id": f"heard-{owner}"}
    made = await engine.create(make_spec(owner, image, "heard", ("sh", "-c", "exit 3"), labels=labels))
    await engine.start(made.id)
    await ended(engine, made.id)
    await engine.remove(made.id)
    try:
        await eventually(lambda: heard and heard[-1][0] == "destroy", "all events have come")
    finally:
        task.cancel()
        await asyncio.wait({task})
    kinds = [kind for kind, _ in heard]
    assert [kind for kind in kinds if kind != "oom"] == ["create", "start", "die", "destroy"]
    assert dict(heard)["die"] == 3


async def test_images_are_imported_built_and_removed(engine: Engine, owner: str, image: str) -> None:
    reference, labels = f"mlenv/{owner}-imported:1", {f"{LABEL}.owner": owner, "odd": 'a "quoted" $text'}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    imported = await engine.import_image(reference, buffer.getvalue(), labels)
    assert imported.labels["odd"] == labels["odd"]
    assert await engine.image(reference) is not None

    recorder = Recorder()
    text = f'FROM {image}\nRUN echo said-by-a-step && touch /made\nENTRYPOINT ["/bin/true"]\n'
    built = await engine.build(BuildRecipe(tag=f"mlenv/{owner}-built:1", dockerfile=text, labels=labels), recorder)
    assert built.entrypoint == ("/bin/true",)
    assert any("said-by-a-step" in line for line in recorder.lines)
    bad = BuildRecipe(tag=f"mlenv/{owner}-bad:1", dockerfile=f"FROM {image}\nRUN echo the reason && exit 5\n")
    with pytest.raises(BuildFailed) as caught:
        await engine.build(bad, Recorder())
    assert any("the reason" in line for line in caught.value.log)

    found = {tag for info in await engine.images({f"{LABEL}.owner": owner}) for tag in info.tags}
    assert len(found) == 2
    for tag in found:
        await engine.remove_image(tag)
    await engine.remove_image(reference)
    assert await engine.image(reference) is None


async def test_a_whole_environment(config: MlenvConfig, workspace: Path, presets: Path, image: str) -> None:
    """From the preset to a file of the person's, over a stop and a start."""
    (presets / "small.toml").write_text(f'schema = 1\n[image]\nreference = "{image}"\n')
    async with opened(config) as environments:
        for preset in ("small", "host"):
            _, job = await environments.start(StartRequest(preset, str(workspace)))
            environment = await job.wait()
            assert (environment.state, environment.warnings) == (State.RUNNING, ())
            agent = await environments.agent(environment.id)
            async with await agent.exec(["sh", "-c", f"touch by-{preset}; id -u"], cwd=str(workspace)) as session:
                assert b"".join([data async for _, data in session]).split() == [str(os.getuid()).encode()]
            assert (workspace / f"by-{preset}").stat().st_uid == os.getuid()
            assert (await environments.stop(environment.id)).state is State.STOPPED
            _, job = await environments.resume(environment.id)
            assert (await job.wait()).state is State.RUNNING
            await environments.remove(environment.id)
        assert await environments.list() == []
