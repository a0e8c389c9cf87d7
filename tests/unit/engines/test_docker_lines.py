"""Output that arrives in pieces: whole lines of bounded length, however it was cut and however long it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.docker.calls import split_lines
from jupyter_mlenv.engines.docker.classic import ClassicProgress
from jupyter_mlenv.engines.docker.lines import MAX_LINE_CHARS, MAX_MESSAGE_BYTES, Lines, messages
from jupyter_mlenv.engines.model import BuildRecipe
from jupyter_mlenv.environments.job import JOB_LOG_LINES, Job, JobKind
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.model import Environment, State
from tests.support import fakedocker
from tests.support.reporting import Recorder

DONE = Environment("p-1", "p", "P", "", "me", "/w", State.RUNNING, "image")


def test_an_endless_line_costs_its_beginning() -> None:
    """30 MB in pieces took minutes when each piece was joined with all before it."""
    lines = Lines()
    for _ in range(30_000):
        assert lines.feed("x" * 1000) == []
    assert lines.feed("\nnext\r") == ["x" * MAX_LINE_CHARS + "…"]
    assert lines.feed("\nlast") == ["next"]
    assert lines.partial == "last"
    assert [len(line) for line in split_lines(b"y" * 100_000 for _ in range(100))] == [MAX_LINE_CHARS + 1]


def test_the_classic_builders_line_is_cut_too() -> None:
    progress = ClassicProgress()
    for _ in range(3000):
        progress.feed({"stream": "z" * 10_000})
    assert [len(line) for line in progress.feed({"stream": "\n"})] == [MAX_LINE_CHARS + 1]
    assert len(progress.tail[0]) == MAX_LINE_CHARS + 1


def test_messages_of_the_engine_however_they_are_cut() -> None:
    text = b'{"a": 1}\r\n\n{"b": "\xc3\xa9"}\nnone\n"text"\n' + b"[" * 100_000 + b'\n{"c": 3}'
    for size in (1, 3, 1 << 16):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(messages(pieces)) == [{"a": 1}, {"b": "é"}, None, None, None, {"c": 3}]


def test_a_message_without_an_end_is_left_out() -> None:
    piece = b"x" * (1 << 20)
    pieces = [piece] * (2 + MAX_MESSAGE_BYTES // len(piece))
    assert list(messages([b'{"a": "', *pieces, b'"}\n{"b": 1}\n'])) == [None, {"b": 1}]


async def test_a_talkative_build_is_told_in_full_and_leaves_the_loop_to_others(tmp_path: Path) -> None:
    count, turns = 20_000, 0

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"stream": "Step 1/1 : RUN seq"}\n{"stream": "\\n"}\n'
        for first in range(0, count, 1000):
            yield b"".join(b'{"stream": "line %d\\n"}\r\n' % n for n in range(first, first + 1000))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with fakedocker.fake_docker(tmp_path) as fake:
        fake.answers["POST /build"] = fakedocker.stream(pieces)
        fake.answers["GET /images/"] = fakedocker.body("200 OK", json.dumps({"Id": "sha256:1"}).encode())
        engine, recorder = DockerEngine(fake.url, builder="classic"), Recorder()
        others = asyncio.ensure_future(count_turns())
        await engine.build(BuildRecipe("t:1", "FROM x\nRUN seq\n"), recorder)
        others.cancel()
        await engine.close()
    assert recorder.lines == ["[1/1] RUN seq", *(f"line {n}" for n in range(count))]
    assert turns > count // 512, "others had their turn after each batch"
    assert recorder.steps[-1].total == 1


async def test_who_listens_to_a_job_hears_once_for_all_that_came_in_an_interval() -> None:
    async def work(job: Job) -> Environment:
        for number in range(10 * JOB_LOG_LINES):
            job.log(f"line {number}")
        return DONE

    jobs, told = Jobs(), []
    jobs.listen(lambda job: told.append((job.state, job.lines)))
    job = await jobs.start(JobKind.START, "p-1", work)
    await job.wait()
    assert told[-1] == ("done", 10 * JOB_LOG_LINES)
    assert len(told) < 100
    first, lines = job.since(0)
    assert (first, lines[-1], len(lines)) == (9 * JOB_LOG_LINES, f"line {10 * JOB_LOG_LINES - 1}", JOB_LOG_LINES)
