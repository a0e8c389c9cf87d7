"""Threads of our own: as many as wanted, and none that keeps the process from ending."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from jupyter_mlenv.workers import Workers
from tests.support.waiting import eventually


async def test_work_runs_beside_the_loop_in_as_many_threads_as_allowed() -> None:
    workers, go_on, names = Workers(2, "test"), threading.Event(), set()

    def work() -> str:
        names.add(threading.current_thread().name)
        assert go_on.wait(30)
        return "done"

    tasks = [asyncio.ensure_future(workers.run(work)) for _ in range(5)]
    await eventually(lambda: len(names) == 2, "two threads work")
    go_on.set()
    assert await asyncio.gather(*tasks) == ["done"] * 5
    assert names == {"test-1", "test-2"}
    workers.close()


async def test_errors_reach_who_waits() -> None:
    workers = Workers(1, "test")
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        await workers.run(lambda: 1)


async def test_what_has_not_begun_is_dropped_by_a_cancel_and_by_a_close() -> None:
    workers, began, go_on, ran = Workers(1, "test"), threading.Event(), threading.Event(), []
    first = asyncio.ensure_future(workers.run(lambda: (began.set(), go_on.wait(30))))
    await eventually(began.is_set, "it works")
    waiting = [asyncio.ensure_future(workers.run(lambda: ran.append(1))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    workers.close()
    await asyncio.wait([waiting[1]])
    go_on.set()
    await first
    assert [task.cancelled() for task in waiting] == [True, True]
    assert ran == []


def test_a_call_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    text = """
import asyncio, threading
from jupyter_mlenv.workers import Workers

async def main():
    workers = Workers(1, "stuck")
    began = threading.Event()
    task = asyncio.ensure_future(workers.run(lambda: (began.set(), threading.Event().wait())))
    while not began.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    workers.close()

asyncio.run(main())
print("over")
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "over\n"


FORKS = """
import asyncio, os
from jupyter_mlenv.workers import off_loop

async def twice():
    return await off_loop(int, "1") + await off_loop(int, "2")

assert asyncio.run(twice()) == 3
child = os.fork()
assert asyncio.run(twice()) == 3
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_the_threads_that_all_share_are_there_in_a_forked_process_too() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)
