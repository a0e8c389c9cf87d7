"""One attack, what has to come of it, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ground import Ground

Attack = Callable[["Ground"], str]
"""Does it and returns in a few words what was seen. Raises AssertionError where it was not as expected."""


@dataclass(frozen=True)
class Case:
    """`expected` is what has to come of it, besides what is expected of every case (`ground.health`)."""

    name: str
    expected: str
    attack: Attack


@dataclass(frozen=True)
class Outcome:
    """`worst` is the longest that `/api/status` took meanwhile, in milliseconds."""

    case: Case
    passed: bool
    seen: str
    seconds: float
    worst: float


CASES: list[Case] = []


def case(name: str, expected: str) -> Callable[[Attack], Attack]:
    """Puts a function among the cases, in the order of the files."""

    def put(attack: Attack) -> Attack:
        CASES.append(Case(name, expected, attack))
        return attack

    return put


def table(outcomes: list[Outcome]) -> str:
    """Attack, expected, seen, passed or failed."""
    rows = [("ATTACK", "EXPECTED", "SEEN", "STATUS WORST", "TIME", "")]
    for one in outcomes:
        verdict = "pass" if one.passed else "FAIL"
        seen = " ".join(one.seen.split())[:160]
        rows.append((one.case.name, one.case.expected, seen, f"{one.worst:.0f} ms", f"{one.seconds:.0f} s", verdict))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
