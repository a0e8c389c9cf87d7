"""Turns: first come, first served, so many at once, and nobody waits for one that hangs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from jupyter_mlenv.environments.turns import Turns, unheard


class Worker:
    """Somebody who takes a turn, and works until told to end."""

    def __init__(self, turns: Turns) -> None:
        self.heard: list[int] = []
        self.works, self.ends = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._work(turns))

    async def _work(self, turns: Turns) -> None:
        async with turns.turn(self.heard.append):
            self.works.set()
            await self.ends.wait()

    async def end(self) -> None:
        self.ends.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_queue_moves_in_order_and_says_how_long_it_is() -> None:
    turns = Turns(2, 60)
    workers = [Worker(turns) for _ in range(5)]
    await settle()
    assert [worker.works.is_set() for worker in workers] == [True, True, False, False, False]
    await workers[1].end()
    await settle()
    assert workers[2].works.is_set()
    assert [worker.heard for worker in workers] == [[], [], [1], [2, 1], [3, 2]]
    for number in (0, 2, 3, 4):
        await workers[number].end()
    async with turns.turn(unheard), turns.turn(unheard):  # nothing is lost of the two
        pass


async def test_who_leaves_the_queue_lets_the_others_move_up() -> None:
    turns = Turns(1, 60)
    workers = [Worker(turns) for _ in range(4)]
    await settle()
    workers[1].task.cancel()
    await settle()
    assert [worker.heard for worker in workers[2:]] == [[2, 1], [3, 2]]
    # Cancelled in the moment in which it is given its turn.
    workers[0].ends.set()
    workers[0].task.add_done_callback(lambda _: workers[2].task.cancel())
    await settle()
    assert workers[3].works.is_set()
    await workers[3].end()
    for worker in workers[1:3]:
        with suppress(asyncio.CancelledError):
            await worker.task


async def test_an_error_gives_the_turn_back() -> None:
    turns = Turns(1, 60)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with turns.turn(unheard):
                raise RuntimeError
    async with turns.turn(unheard):
        pass


async def test_nobody_waits_for_one_that_hangs() -> None:
    turns = Turns(1, 0.05)
    stuck, next_one, last = Worker(turns), Worker(turns), Worker(turns)
    await asyncio.wait_for(last.works.wait(), 30)
    for worker in (stuck, next_one, last):
        await worker.end()
    one, two = Worker(turns), Worker(turns)
    await settle()
    assert (one.works.is_set(), two.works.is_set()) == (True, False)  # not one more than before
    await one.end()
    await two.end()
