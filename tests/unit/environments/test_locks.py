"""One process at a time changes an environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_mlenv.environments.locks import Locks
from jupyter_mlenv.errors import EnvironmentBusy

ID = "small-0123456789"

HOLDS = """
import asyncio, sys
from jupyter_mlenv.environments.locks import Locks

async def main():
    async with Locks(sys.argv[1]).held(sys.argv[2], 60):
        print("held", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""

COUNTS = """
import asyncio, pathlib, sys
from jupyter_mlenv.environments.locks import Locks

async def main():
    locks, file = Locks(sys.argv[1]), pathlib.Path(sys.argv[3])
    for _ in range(40):
        async with locks.held(sys.argv[2], 60):
            count = int(file.read_text())
            await asyncio.sleep(0)
            file.write_text(str(count + 1))

asyncio.run(main())
"""


def holder(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS, str(root), ID]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def test_another_process_waits_and_can_give_up(tmp_path: Path) -> None:
    locks = Locks(str(tmp_path))
    with holder(tmp_path) as process:
        with pytest.raises(EnvironmentBusy, match=ID):
            async with locks.held(ID, 0.1):
                pass
        waiting = asyncio.create_task(locks.held(ID, 60).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(locks) == 0
        async with locks.held("small-other56789", 60) as sure:
            assert sure
        process.kill()
    async with locks.held(ID, 60) as sure:  # it went with its process
        assert sure
    assert os.listdir(tmp_path) == []


async def test_no_two_processes_hold_it_and_no_file_stays(tmp_path: Path) -> None:
    """A file that is removed under a waiting process is a lock that two could hold."""
    count, root = tmp_path / "count", tmp_path / "run"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTS, str(root), ID, str(count)]
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert count.read_text() == "120"
    assert os.listdir(root) == []


async def test_in_one_process_they_come_in_turn_and_are_forgotten(tmp_path: Path) -> None:
    locks, order = Locks(str(tmp_path)), []

    async def work(number: int) -> None:
        async with locks.held(ID, 60):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(work(number) for number in range(8)))
    assert order == [number for number in range(8) for _ in range(2)]
    assert len(locks) == 0


async def test_where_no_lock_can_be_made_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with Locks(str(tmp_path / "file")).held(ID, 60) as sure:
        assert not sure
