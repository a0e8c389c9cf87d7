"""Many at once, for long: storms of operations, bursts of output, large projects, long builds, a silent engine."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
import uuid
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiohttp

from jupyter_mlenv.container_layout import LABEL
from tests.support.lab import Lab, running_lab
from tests.support.leftovers import connect, new_owner

from .case import case
from .ground import Ground, Watch, ask
from .repositories import agreed

ROUNDS = 60
OPERATIONS = 52
STORM = 240.0
"""Seconds after which the storm begins no further round; fewer rounds than `ROUNDS` are told."""

FILES = 100_000
LINES = 400_000
OUTPUTS = 5000


@case("K-A 5,000 small outputs to a client that is busy 0, 0.3 and 1 ms a message", "all arrive, and idle")
def bursts(ground: Ground) -> str:
    counts = []
    for busy in (0.0, 0.0003, 0.001) * 3:
        outputs, idle = asyncio.run(_burst(ground.lab, ground.kernel, busy))
        assert idle, f"busy {busy * 1000:g} ms: no idle, {outputs} outputs"
        counts.append(outputs)
    assert set(counts) == {OUTPUTS}, f"{counts}"
    return f"{len(counts)} bursts of {OUTPUTS}"


async def _burst(lab: Lab, kernel: str, busy: float) -> tuple[int, bool]:
    code = f"for i in range({OUTPUTS}): display({{'text/plain': str(i)}}, raw=True)"
    header = {"msg_id": uuid.uuid4().hex, "username": "", "session": uuid.uuid4().hex, "msg_type": "execute_request"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    message = {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
    outputs = 0
    url = f"{lab.url}api/kernels/{kernel}/channels?token={lab.token}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
        await ws.send_json({**message, "channel": "shell", "buffers": []})
        with suppress(asyncio.TimeoutError):
            while True:
                got = json.loads((await asyncio.wait_for(ws.receive(), 10)).data)
                if got["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                outputs += got["msg_type"] == "display_data"
                if got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                    return outputs, True
                time.sleep(busy)  # noqa: ASYNC251  a client that is busy reads nothing meanwhile
    return outputs, False


@case(f"R4 looks and a start in a project of {FILES:,} files with COPY of all of them", "the server answers")
def large_project(ground: Ground) -> str:
    folder = ground.folder("cloned")
    text = 'schema = 1\nname = "large"\n[image]\ndockerfile = "Dockerfile"\n'
    (folder / "mlenv.toml").write_text(text)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY data /data\n")
    for number in range(FILES // 1000):
        part = folder / "data" / str(number)
        part.mkdir(parents=True)
        for name in range(1000):
            (part / str(name)).touch()
    body = {"preset": "large", "path": folder.name}
    error = json.loads(ground.request("POST", "mlenv/api/environments", body, timeout=60)[1])
    ground.watch.mark()
    agreed(ground, folder, error["details"]["consent"], "large")
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert ground.request("GET", f"mlenv/api/presets?path={folder.name}", timeout=60)[0] == 200
        took.append(time.monotonic() - began)
    return f"looks took {', '.join(f'{each:.1f}' for each in took)} s"


@case(f"R5 a build that prints {LINES:,} lines and one of 30 MB, 20 watchers", "the server answers, the job ends")
def talkative_build(ground: Ground) -> str:
    folder = ground.folder()
    dockerfile = (
        f"FROM mlenv/base:bookworm\nRUN : {uuid.uuid4().hex}; seq 1 {LINES}; head -c 30000000 /dev/zero | tr '\\0' x\n"
    )
    (folder / "Dockerfile").write_text(dockerfile)
    ground.own(folder)
    (ground.presets / "talkative.toml").write_text(f'schema = 1\n[image]\ndockerfile = "{folder}/Dockerfile"\n')
    stop = threading.Event()
    watchers = threading.Thread(target=lambda: asyncio.run(_watch(ground.lab, stop)), daemon=True)
    try:
        body = {"preset": "talkative", "path": folder.name}
        status, text = ground.request("POST", "mlenv/api/environments", body)
        assert status == 202, f"{status} {text[:200]!r}"
        watchers.start()
        job = json.loads(text)["job"]["id"]
        ground.ended(job, 240)
        found = json.loads(ground.request("GET", f"mlenv/api/jobs/{job}")[1])
        ground.request("DELETE", f"mlenv/api/environments/{found['environment']}", timeout=60)
    finally:
        stop.set()
        (ground.presets / "talkative.toml").unlink()
        with closing(connect()) as client:
            for image in client.images(filters={"reference": "mlenv/talkative"}):
                client.remove_image(image["Id"], force=True)
    return f"{found['lines']:,} lines in {found['elapsed']:.0f} s"


async def _watch(lab: Lab, stop: threading.Event) -> None:
    async def one(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{lab.url}mlenv/api/watch?token={lab.token}", max_msg_size=0) as ws:
            while not stop.is_set():
                with suppress(asyncio.TimeoutError):
                    await ws.receive(timeout=1)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session) for _ in range(20)), return_exceptions=True)


@case("R9 an engine that takes connections and never answers", "an error soon, SIGTERM ends it in 10 s")
def silent_engine(ground: Ground) -> str:
    path = Path("/tmp") / f"mlenv-silent-{uuid.uuid4().hex[:8]}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(64)
        try:
            with running_lab(new_owner(), environment={"DOCKER_HOST": f"unix://{path}"}) as lab:
                watch = Watch(lab)
                watch.begin()
                began = time.monotonic()
                seen = []
                for what in ("engine", "environments", "presets"):
                    try:
                        seen.append(f"{what} {ask(lab, 'GET', f'mlenv/api/{what}', timeout=60)[0]}")
                    except OSError as error:
                        raise AssertionError(f"{what}: no answer in a minute") from error
                answered = time.monotonic() - began
                slowest = watch.slowest()
                watch.end()
                began = time.monotonic()
                lab.end()
                took = time.monotonic() - began
        finally:
            path.unlink()
    assert slowest <= 2000, f"/api/status took {slowest:.0f} ms"
    assert took <= 10, f"SIGTERM took {took:.1f} s"
    return f"{', '.join(seen)} after {answered:.0f} s, ended in {took:.1f} s, status at worst {slowest:.0f} ms"


@case(
    f"A storm: {ROUNDS} rounds of {OPERATIONS} operations at once", "every job ends, one container for an id, none left"
)
def storm(ground: Ground) -> str:
    folders = [ground.folder("storm") for _ in range(3)]
    began, rounds, statuses = time.monotonic(), 0, Counter[int]()
    dice = random.Random(7)
    while rounds < ROUNDS and time.monotonic() - began < STORM:
        known = [e["id"] for e in ground.lab.environments() if "/storm-" in e["workspace"]]
        threads = [
            threading.Thread(target=_operation, args=(ground, dice.random(), dice.choice(folders), known, statuses))
            for _ in range(OPERATIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        assert not any(thread.is_alive() for thread in threads), f"round {rounds}: a request has no end"
        _all_ended(ground, rounds)
        _one_container_each(ground, rounds)
        rounds += 1
    for environment in ground.lab.environments():
        if "/storm-" in environment["workspace"]:
            ground.request("DELETE", f"mlenv/api/environments/{environment['id']}", timeout=60)
    left = [name for name, workspace in _containers(ground) if "/storm-" in workspace]
    assert not left, f"left: {left}"
    assert not [status for status in statuses if status >= 500], f"{dict(statuses)}"
    return f"{rounds} rounds, answers {dict(sorted(statuses.items()))}"


def _operation(ground: Ground, chance: float, folder: Path, known: list[str], statuses: Counter[int]) -> None:
    preset = "victim" if chance * 100 % 1 < 0.5 else "other"
    start: dict[str, Any] = {"preset": preset, "path": folder.name}
    id = known[int(chance * 1000) % len(known)] if known else ""
    api = f"mlenv/api/environments/{id}"
    try:
        if chance < 0.25 or not id:
            status, _ = ground.request("POST", "mlenv/api/environments", start, timeout=120)
        elif chance < 0.35:
            status, _ = ground.request("POST", "mlenv/api/environments", {**start, "recreate": True}, timeout=120)
        elif chance < 0.5:
            status, _ = ground.request("POST", f"{api}/restart", {}, timeout=120)
        elif chance < 0.65:
            status, _ = ground.request("POST", f"{api}/stop", timeout=120)
        elif chance < 0.8:
            status, _ = ground.request("DELETE", api, timeout=120)
        elif chance < 0.84:
            ground.mlenv("stop" if chance < 0.82 else "restart", id, timeout=150, check=False)
            status = 0
        else:
            body = {"name": f"mlenv-{preset}", "path": folder.name}
            status, text = ground.request("POST", "api/kernels", body, timeout=150)
            if status == 201:
                ground.request("DELETE", f"api/kernels/{json.loads(text)['id']}", timeout=60)
            status = 409 if status == 500 else status  # Jupyter has no other status for "it was stopped meanwhile"
    except OSError:
        status = 599
    statuses[status] += 1


def _all_ended(ground: Ground, number: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        jobs = json.loads(ground.request("GET", "mlenv/api/jobs")[1])["jobs"]
        running = [job["id"] for job in jobs if job["state"] == "running"]
        if not running:
            return
        assert time.monotonic() < deadline, f"round {number}: jobs without an end: {running}"
        time.sleep(0.2)


def _containers(ground: Ground) -> list[tuple[str, str]]:
    """Environment id and workspace of each container of this owner."""
    owner = ground.lab.settings[0].partition("=")[2]
    with closing(connect()) as client:
        rows = client.containers(all=True, filters={"label": f"{LABEL}.owner={owner}"})
    return [(row["Labels"].get(f"{LABEL}.id", ""), row["Labels"].get(f"{LABEL}.workspace", "")) for row in rows]


def _one_container_each(ground: Ground, number: int) -> None:
    twice = [id for id, count in Counter(id for id, _ in _containers(ground)).items() if count > 1]
    assert not twice, f"round {number}: two containers for {twice}"
