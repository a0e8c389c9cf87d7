"""Kernels as batch jobs have them: a loop of many in one process, and many jobs at once."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from jupyter_mlenv.environments import Environments
from tests.support.environments import Named, run_files
from tests.support.kernels import Home, kernel, said
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'

IN_THERE = "import os; print(len(os.listdir(f'/proc/{os.getppid()}/fd')), os.environ['MLENV_ID'])"
"""Prints how many files the agent has open, whose child a kernel is, and the environment's id."""


def usage() -> tuple[int, int]:
    """This process's threads and open files."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["", "[kernel]\nfork = false\n"], ids=["forked", "executed"])
async def test_a_long_loop_leaves_nothing_behind(
    how: str, named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    """Neither here nor in the environment, however many one process has had."""
    box = home.add(named("loop", HOST + how))
    answers, before = [], (0, 0)
    for number in range(10):
        async with kernel(box, workspace) as (_, client):
            answers.append(await said(client, IN_THERE))
        if number == 1:  # what stays once is there by now
            before = usage()
    await eventually(lambda: all(now <= was for now, was in zip(usage(), before, strict=True)), "nothing piles up")
    assert answers[2:] == answers[2:3] * 8
    [environment] = await environments.list()
    assert run_files(environment.run_dir) == ["agent.sock", "token"]


async def test_many_at_once_all_answer(named: Named, home: Home, workspace: Path, environments: Environments) -> None:
    """Whether the environment is not there yet, or is stopped, or was removed."""
    box = home.add(named("box", HOST))

    async def one() -> str:
        async with kernel(box, workspace) as (_, client):
            return await said(client, "import os; print(os.environ['MLENV_ID'])")

    for end in (environments.stop, environments.remove, environments.stop):
        answers = await asyncio.gather(*(one() for _ in range(8)))
        [environment] = await environments.list()
        assert answers == [environment.id] * 8
        assert run_files(environment.run_dir) == ["agent.sock", "token"]
        await end(environment.id)
