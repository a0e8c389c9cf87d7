"""The environment's own JupyterLab and TensorBoard through a real Jupyter server, under a base URL as hubs have."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.events import write_scalars
from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.people import BASE_URL, Person, launch, person_at
from tests.support.waiting import wait_until

PIECE = 8 << 20
"""Bytes per request of an upload; JupyterLab takes one MiB, which only makes more requests of it."""

PIECES = int(os.environ.get("MLENV_TEST_UPLOAD", "335544320")) // PIECE
"""Of them; two GiB (`MLENV_TEST_UPLOAD=2147483648`) pass too, and take a minute."""

LOOK = """
import json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
open('made by a cell', 'w').close()
print(json.dumps([os.getcwd(), os.getuid(), os.getgid(), int(status['CapEff'], 16), status['NoNewPrivs'].strip(),
                  os.path.exists('/etc/shadow')]))
"""


@pytest.fixture(scope="module")
def lab(owner: str) -> Iterator[Lab]:
    with running_lab(owner, base_url=BASE_URL) as lab:
        project = lab.root_dir / "my project é"
        project.mkdir()
        (project / "pyproject.toml").touch()
        write_scalars(project / "runs" / "first", "loss", [1.0, 0.5])
        (lab.root_dir / "outside.txt").write_text("nobody's business")
        owned_by_person(lab, lab.root_dir)
        yield lab
        if lab.process.poll() is None:  # else the last test has
            lab.tidy()


@pytest.fixture(scope="module")
def host(lab: Lab) -> str:
    return str(launch(lab, "host", "my project é")["id"])


@pytest.fixture
async def person(lab: Lab) -> AsyncIterator[Person]:
    async with person_at(lab) as person:
        yield person
        # Nothing inside may log the person out of the outer server, or let a page in as somebody else.
        assert [value for name, value in person.answered if name.lower() == "set-cookie"] == []
        api = await person.request("GET", person.url("", "").with_path(f"{BASE_URL}api/me", encoded=True))
        assert api.status == 200


async def test_a_cell_runs_as_the_person_in_the_project_alone(lab: Lab, person: Person, host: str) -> None:
    project = lab.root_dir / "my project é"
    seen = json.loads(await person.execute(host, LOOK))
    assert seen[:3] == [str(project), lab.uid, os.stat(project).st_gid]
    assert seen[3] == 0 or lab.uid == 0
    assert seen[4:] == ["1", False]
    made = (project / "made by a cell").stat()
    assert made.st_uid == lab.uid
    outside = await person.execute(host, f"import os; print(os.path.exists({str(lab.root_dir / 'outside.txt')!r}))")
    assert outside == "False\n"


async def test_a_terminal(person: Person, host: str) -> None:
    made = await person.request("POST", person.url(host, "notebook", "api/terminals"), json={})
    assert made.status == 200, made.text
    async with person.socket(person.url(host, "notebook", f"terminals/websocket/{made.json['name']}")) as socket:
        await socket.send_json(["stdin", "echo six times seven is $((6*7))\r"])
        shown = ""
        while "seven is 42" not in shown:
            kind, text, *_ = json.loads((await asyncio.wait_for(socket.receive(), 30)).data)
            shown += text if kind == "stdout" else ""


async def test_a_large_file_goes_up_and_comes_down(lab: Lab, person: Person, host: str) -> None:
    """More than any buffer on the way holds; the outer server's memory shows that it keeps none of it."""
    url = person.url(host, "notebook", "api/contents/large.bin")
    piece = os.urandom(PIECE)
    text = base64.b64encode(piece).decode()
    before = memory(lab)
    for number in [*range(1, PIECES), -1]:
        body = {"type": "file", "format": "base64", "chunk": number, "content": text}
        answer = await person.request("PUT", url, json=body)
        assert answer.status in (200, 201), answer.text
    large = lab.root_dir / "my project é" / "large.bin"
    assert (large.stat().st_size, large.stat().st_uid) == (PIECES * PIECE, lab.uid)

    down, up, size = hashlib.sha256(), hashlib.sha256(), 0
    for _ in range(PIECES):
        up.update(piece)
    files = person.url(host, "notebook", "files/large.bin")
    async with person.session.get(files, headers=person.headers()) as answer:
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            down.update(chunk)
            size += len(chunk)
    assert (size, down.hexdigest()) == (PIECES * PIECE, up.hexdigest())
    assert memory(lab) - before < 60 << 20
    large.unlink()


async def test_leaving_the_inner_server_does_not_leave_the_outer_one(person: Person, host: str) -> None:
    """The fixture then asks the outer server who the person is."""
    answer = await person.get(person.url(host, "notebook", "logout"))
    assert answer.status in (200, 302)
    me = await person.get(person.url(host, "notebook", "api/me"))
    assert me.status == 200
    assert person.lab.token not in (await person.get(person.url(host, "notebook", "lab"))).text


async def test_tensorboard(person: Person, host: str) -> None:
    page = await person.get(person.url(host, "tensorboard"))
    assert page.status == 200
    assert "<tb-webapp" in page.text or "TensorBoard" in page.text
    plugins = (await person.get(person.url(host, "tensorboard", "data/plugins_listing"))).json
    assert plugins["scalars"]["enabled"] is True
    runs = (await person.get(person.url(host, "tensorboard", "data/runs"))).json
    assert runs == ["first"]
    tags = (await person.get(person.url(host, "tensorboard", "data/plugin/scalars/tags"))).json
    assert "loss" in tags["first"]


async def test_a_restart_of_the_server_closes_no_door(lab: Lab, host: str) -> None:
    """The engine is the only database: another process finds everything, and what a cell remembers is still there."""
    async with person_at(lab) as person:
        made = await person.request("POST", person.url(host, "notebook", "api/kernels"), json={})
        kernel = made.json["id"]
        await person.execute(host, "kept = 6 * 7", kernel)
        urls = [person.url(host, "notebook", "lab"), person.url(host, "tensorboard")]
    with restarted(lab):
        (found,) = await asyncio.to_thread(lab.environments)
        assert (found["id"], found["state"]) == (host, "running")
        async with person_at(lab) as person:
            for url in urls:
                assert (await person.get(url)).status == 200
            assert await person.execute(host, "print(kept)", kernel) == "42\n"


@contextmanager
def restarted(lab: Lab) -> Iterator[None]:
    """The same server as a new process, the old one killed; the old one must not be used again afterwards."""
    lab.process.send_signal(signal.SIGKILL)
    lab.process.wait()
    with (lab.log.parent / "second.log").open("wb") as log:
        second = subprocess.Popen(
            lab.process.args, stdout=log, stderr=subprocess.STDOUT, cwd=lab.root_dir, env=lab.environment
        )
    try:
        wait_until(lambda: lab.request("GET", "api/status"), "the second server answers", timeout=60)
        yield
        lab.tidy()
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30)


def memory(lab: Lab) -> int:
    """Resident memory of the server, in bytes."""
    status = Path(f"/proc/{lab.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
