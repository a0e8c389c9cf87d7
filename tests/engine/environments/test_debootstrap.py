"""`jupyter mlenv base`: the image is real, small, can install more, and failures leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.images import debootstrap
from tests.support.reporting import Recorder
from tests.support.waiting import eventually


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    await engine.close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the code under test makes its temporary files: whatever is in it afterwards was left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def in_image(reference: str, owner: str, script: str) -> str:
    command = ["docker", "run", "--rm", "--label", f"{LABEL}.owner={owner}", reference, "sh", "-ec", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_python_pip_and_venv_work_in_it(base_image: str, owner: str) -> None:
    script = (
        "python3 -m venv --without-pip /tmp/v; /tmp/v/bin/python -c 'import ssl, sqlite3; print(6 * 7)'; pip --version"
    )
    lines = in_image(base_image, owner, script).splitlines()
    assert lines[0] == "42"
    assert lines[1].startswith("pip ")


async def test_it_holds_no_caches_and_keeps_licences(base_image: str, owner: str) -> None:
    script = (
        "find /var/lib/apt/lists /var/cache/apt -type f ! -name lock | wc -l; ls /usr/share/doc/*/copyright | wc -l"
    )
    caches, licences = in_image(base_image, owner, script).split()
    assert int(caches) == 0
    assert int(licences) > 50


async def test_more_packages_can_be_installed_later(base_image: str, owner: str) -> None:
    script = "apt-get -q update >/dev/null; apt-get -qy install --no-install-recommends make >/dev/null 2>&1; make -v"
    assert in_image(base_image, owner, script).startswith("GNU Make")


async def test_the_second_call_makes_nothing(engine: DockerEngine, base_image: str, temporary: Path) -> None:
    recorder = Recorder()
    image = await debootstrap.make(engine, recorder, reference=base_image)
    assert base_image in image.tags
    assert recorder.lines == []
    assert recorder.steps == []


async def test_an_unreachable_mirror_is_an_error_that_names_the_way_out(
    engine: DockerEngine, owner: str, temporary: Path
) -> None:
    reference = f"mlenv-{owner}/base:x"
    with pytest.raises(MlenvError) as caught:
        await debootstrap.make(engine, Recorder(), reference=reference, mirror="http://127.0.0.1:9/debian")
    assert "debootstrap ended with exit code" in caught.value.message
    assert "--mirror" in caught.value.hint
    assert any("127.0.0.1:9" in line for line in caught.value.log)
    assert await engine.image(reference) is None
    assert os.listdir(temporary) == []


async def test_a_cancelled_one_leaves_no_process_file_or_image(
    engine: DockerEngine, owner: str, temporary: Path
) -> None:
    reference = f"mlenv-{owner}/base:y"
    recorder = Recorder()
    work = asyncio.create_task(debootstrap.make(engine, recorder, reference=reference))
    await eventually(lambda: work.done() or any("Retrieving" in line for line in recorder.lines), "debootstrap is busy")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await engine.image(reference) is None
    assert os.listdir(temporary) == []
    assert processes_that_mention(str(temporary)) == []


def processes_that_mention(text: str) -> list[str]:
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                commands.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue  # it has ended meanwhile
    return [command for command in commands if text in command]
