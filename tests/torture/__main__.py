"""`python -m tests.torture [--list] [--only WORD …] [--minutes N]`: runs the cases, prints the table."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time

import aiohttp

from jupyter_mlenv.errors import MlenvError

from . import containers, endurance, repositories, services
from .case import CASES, Case, Outcome, table
from .ground import GROWTH, HANG, Ground, prepared

FAILURES = (AssertionError, OSError, ValueError, KeyError, asyncio.TimeoutError, aiohttp.ClientError, MlenvError)
MODULES = (containers, services, repositories, endurance)
"""Importing them filled `CASES`."""


def one(ground: Ground, case: Case) -> Outcome:
    """A case with what has to be true after each."""
    ground.watch.mark()
    began, memory, descriptors = time.monotonic(), ground.memory(), ground.descriptors()
    try:
        seen, passed = case.attack(ground), True
        ground.health()
        worst = ground.watch.slowest()
        assert worst <= HANG, f"{seen}; /api/status took {worst:.0f} ms"
        grown = ground.memory() - memory
        assert grown <= GROWTH, f"{seen}; the server grew by {grown >> 20} MB"
        more = ground.descriptors() - descriptors
        assert more <= 100, f"{seen}; the server has {more} descriptors more"
    except FAILURES as error:
        seen, passed = f"{type(error).__name__}: {error}", False
    outcome = Outcome(case, passed, seen, time.monotonic() - began, ground.watch.slowest())
    if not passed:
        ground.touched.clear()
        ground.revive()
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only name the cases")
    parser.add_argument("--only", metavar="WORD", nargs="*", default=[], help="cases with one of these in their names")
    parser.add_argument("--minutes", type=float, default=15.0, help="what has not begun by then fails (default: 15)")
    args = parser.parse_args()
    chosen = [case for case in CASES if not args.only or any(word.lower() in case.name.lower() for word in args.only)]
    if args.list:
        print("\n".join(f"{case.name}: {case.expected}" for case in chosen))
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # it cleans up then, too
    deadline, outcomes = time.monotonic() + args.minutes * 60, list[Outcome]()
    with prepared() as ground:
        for case in chosen:
            if time.monotonic() > deadline:
                outcomes.append(Outcome(case, False, "there was no time left for it", 0.0, 0.0))
                continue
            outcome = one(ground, case)
            outcomes.append(outcome)
            mark = "pass" if outcome.passed else "FAIL"
            print(f"{mark}  {outcome.seconds:5.1f} s  {case.name}: {' '.join(outcome.seen.split())[:300]}", flush=True)
    print("\n" + table(outcomes))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    print(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} passed.")
    return int(bool(failed) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())
