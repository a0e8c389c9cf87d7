"""A server extension that writes down what held the event loop up: long turns of its own, and the garbage collector.

Processor time, so that what else runs on the machine does not count. `bench_loop.py` loads it and reads the file that
the variable `LOOP_TURNS` names: a line has the epoch's seconds and milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

FROM_MS = 1.0
"""Shorter ones are left out."""


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "benchmarks.loop_turns"}]


def _load_jupyter_server_extension(app: Any) -> None:
    output = open(os.environ["LOOP_TURNS"], "a", buffering=1)  # noqa: SIM115 - as long as the server
    run = asyncio.Handle._run

    def note(began: float) -> None:
        took = (time.thread_time() - began) * 1000
        if took >= FROM_MS:
            output.write(f"{time.time():.3f} {took:.1f}\n")

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        note(began)

    collecting = [0.0]

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collecting[0] = time.thread_time()
        else:
            note(collecting[0])  # whichever thread it runs in, all others wait for it

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    gc.callbacks.append(collected)


def longest(path: str, since: float, until: float) -> float:
    """Milliseconds of the longest one between two times of the epoch; 0 if there is none."""
    with open(path) as lines:
        turns = [tuple(map(float, line.split())) for line in lines]
    return max((took for moment, took in turns if since <= moment <= until), default=0.0)
