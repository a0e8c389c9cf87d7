"""How long `GET /api/status` takes beside what once made the server stand still. Nothing of it is a comparison.

    python benchmarks/bench_loop.py [--short] [NAME ...]

Beside that stands the longest time that the loop was held up by a turn of its own or by the garbage collector, in
processor time: on a busy machine it tells whose fault a slow answer was.

Situations: `project` (presets, a start and a click on what runs, in a project with 200,000 files and `COPY data`),
`build` (a million lines by the classic builder with 20 watchers), `silent` and `slow` (an engine that never answers, or
after 5 s). `SITUATIONS` takes more: each is a function of the server that goes on until it is done.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loop_turns
from benchmarks._common import new_owner
from tests.support import fakedocker
from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.leftovers import connect

P99, WORST, TURN = 30.0, 100.0, 30.0
"""Milliseconds, at most."""

IDLE_SECONDS = 4.0
"""How long the server is asked with nothing beside it, for comparison."""

PRESETS = "--MlenvConfig.preset_paths="
SHORT = "--short" in sys.argv
FILES = 20_000 if SHORT else 200_000
LINES = 50_000 if SHORT else 1_000_000
WATCHERS = 20


class Status:
    """Asks for `/api/status` every 20 ms over one connection, from a thread of its own. Milliseconds."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self.times, self._stop = lab, list[float](), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Status:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        where = urllib.parse.urlsplit(self._lab.url)
        with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=120)) as connection:
            while not self._stop.wait(0.02):
                began = time.perf_counter()
                connection.request("GET", "/api/status", headers={"Authorization": f"token {self._lab.token}"})
                connection.getresponse().read()
                self.times.append((time.perf_counter() - began) * 1000)


def ask(lab: Lab, method: str, path: str, body: object = None) -> Any:
    """The answer's JSON; an error's too."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(lab.url + path, data, {"Authorization": f"token {lab.token}"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def ended(lab: Lab, begun: Any) -> Any:
    """The job of a start, once it is over."""
    assert "job" in begun, begun
    while (job := ask(lab, "GET", f"mlenv/api/jobs/{begun['job']['id']}"))["state"] == "running":
        time.sleep(0.2)
    return job


def preset(lab: Lab, name: str, folder: Path, dockerfile: str) -> None:
    """A preset of the person's own whose context is a project."""
    (folder / "Dockerfile").write_text(dockerfile)
    presets = next(Path(word.removeprefix(PRESETS)) for word in lab.settings if word.startswith(PRESETS))
    (presets / f"{name}.toml").write_text(f'schema = 1\n[image]\ndockerfile = "{folder}/Dockerfile"\n')
    owned_by_person(lab, folder)


def project(lab: Lab) -> Iterator[str]:
    """Looks, a start and a click. Between two `yield`s is one row of the table."""
    folder = lab.root_dir / "project"
    for number in range(FILES // 1000):
        (folder / "data" / str(number)).mkdir(parents=True)
        for name in range(1000):
            (folder / "data" / str(number) / str(name)).touch()
    preset(lab, "large", folder, "FROM mlenv/base:bookworm\nCOPY data /data\n")
    body = {"preset": "large", "path": "project"}
    yield f"presets of {FILES:,} files"
    for _ in range(3 if SHORT else 10):
        ask(lab, "GET", "mlenv/api/presets?path=project")
    yield "its start, with the build"
    job = ended(lab, ask(lab, "POST", "mlenv/api/environments", body))
    assert job["state"] == "done", job["error"]
    yield "a click on it while it runs"
    for _ in range(3):
        ended(lab, ask(lab, "POST", "mlenv/api/environments", body))


def build(lab: Lab) -> Iterator[str]:
    """A talkative build by the classic builder, and watchers that follow its log."""
    folder = lab.root_dir / "talkative"
    folder.mkdir()
    preset(lab, "talkative", folder, f"FROM mlenv/base:bookworm\nRUN : {uuid.uuid4().hex}; seq 1 {LINES}\n")
    yield f"{LINES:,} lines, {WATCHERS} watchers"
    begun = ask(lab, "POST", "mlenv/api/environments", {"preset": "talkative", "path": "talkative"})
    # A process of its own: what is measured is the server, not this one.
    watching = multiprocessing.get_context("spawn").Process(target=watch, args=(lab.url, lab.token, begun["job"]["id"]))
    watching.start()
    try:
        job = ended(lab, begun)
    finally:
        watching.terminate()
        watching.join(30)
    assert job["lines"] >= LINES, job


def watch(url: str, token: str, job: str) -> None:
    """Watch and follow a job's log until this process is ended."""

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{url}mlenv/api/watch?token={token}", max_msg_size=0) as ws:
            await ws.send_json({"type": "follow", "job": job, "since": 0})
            async for _ in ws:
                pass

    async def all_of_them() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(one(session) for _ in range(WATCHERS)))

    asyncio.run(all_of_them())


def asking(lab: Lab) -> Iterator[str]:
    """What a page asks for, of an engine that does not answer, or not soon."""
    (lab.root_dir / "asked").mkdir()
    yield "what a page asks for"
    paths = ("mlenv/api/engine", "mlenv/api/environments", "mlenv/api/presets")
    pages = [threading.Thread(target=ask, args=(lab, "GET", path)) for path in paths * 3]
    pages.append(
        threading.Thread(target=ask, args=(lab, "POST", "mlenv/api/environments", {"preset": "host", "path": "asked"}))
    )
    for page in pages:
        page.start()
    for page in pages:
        page.join()


@contextmanager
def odd_engine(delay: float) -> Iterator[str]:
    """The URL of an engine that answers after so many seconds; infinite: never."""
    ready, url = threading.Event(), [""]
    stop, loops = asyncio.Event(), list[asyncio.AbstractEventLoop]()

    async def serve(folder: Path) -> None:
        async with fakedocker.fake_docker(folder) as fake:
            fake.delay, url[0] = delay, fake.url
            (folder / "fake.sock").chmod(0o666)
            loops.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        thread = threading.Thread(target=lambda: asyncio.run(serve(Path(folder))), daemon=True)
        thread.start()
        ready.wait(10)
        yield url[0]
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


@dataclass(frozen=True)
class Situation:
    """`run` yields the name of each row before it begins; `delay` is an engine's that takes the real one's place."""

    run: Callable[[Lab], Iterator[str]]
    delay: float | None = None
    options: tuple[str, ...] = ()


SITUATIONS = {
    "project": Situation(project),
    "build": Situation(build, options=("--MlenvConfig.builder=classic",)),
    "silent": Situation(asking, delay=1e9),
    "slow": Situation(asking, delay=5.0),
}


def measure(name: str, situation: Situation) -> bool:
    """Print the rows of one situation; whether all were good enough."""
    owner, good = new_owner(), True
    with ExitStack() as stack:
        presets = stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
        Path(presets).chmod(0o777)
        options = [*situation.options, f"{PRESETS}{presets}"]
        options.append("--ServerApp.jpserver_extensions={'benchmarks.loop_turns': True}")
        turns = f"{presets}/turns.txt"
        environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "LOOP_TURNS": turns}
        if situation.delay is not None:
            options.append(f"--MlenvConfig.engine_url={stack.enter_context(odd_engine(situation.delay))}")
        lab = stack.enter_context(running_lab(owner, options=options, environment=environment))
        try:
            rows = beside_nothing(situation.run(lab))
            row = next(rows, None)
            while row is not None:
                began = time.time()
                with Status(lab) as status:
                    following = next(rows, None)
                good = show(f"{name}: {row}", status.times, loop_turns.longest(turns, began, time.time())) and good
                row = following
        finally:
            if situation.delay is None:
                clean(lab)
    return good


def beside_nothing(rows: Iterator[str]) -> Iterator[str]:
    """The rows, after one of a server that has nothing to do; what the first one needs is there before."""
    first = next(rows)
    yield "nothing"
    time.sleep(IDLE_SECONDS)
    yield first
    yield from rows


def show(title: str, times: list[float], turn: float) -> bool:
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else max(times)
    good = p99 <= P99 and max(times) <= WORST and turn <= TURN
    numbers = f"p50 {statistics.median(times):6.1f}  p99 {p99:6.1f}  worst {max(times):6.1f}  turn {turn:5.1f} ms"
    print(f"{title:48} {numbers}  n {len(times):5}  {'met' if good else 'MISSED'}", flush=True)
    return good


def clean(lab: Lab) -> None:
    lab.tidy()
    with closing(connect()) as client:
        for name in ("large", "talkative"):
            for image in client.images(filters={"reference": f"mlenv/{name}"}):
                client.remove_image(image["Id"], force=True)


def main() -> int:
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")] or list(SITUATIONS)
    print(f"GET /api/status beside …; at most p99 {P99:g} ms, worst {WORST:g} ms, a turn of the loop {TURN:g} ms")
    met = [measure(name, SITUATIONS[name]) for name in chosen]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
