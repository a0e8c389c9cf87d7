"""What the benchmarks share: an owner label, medians side by side, and a silent reporter."""

from __future__ import annotations

import os
import secrets
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.model import Progress

OWNER = f"{LABEL}.owner"


def new_owner() -> str:
    """The owner label of one run: everything with it is removed at its end."""
    return f"bench-{os.getpid()}-{secrets.token_hex(3)}"


class Silent:
    """A `Reporter` that keeps quiet."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def log(self, line: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Comparison:
    """Two ways to do the same thing, each measured several times in turn. Times in seconds."""

    title: str
    ours: Sequence[float]
    peer: str
    theirs: Sequence[float]
    target: float  # ours / theirs, at most

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def met(self) -> bool:
        return self.ratio <= self.target

    def print(self) -> None:
        """A line for each side and one for the ratio of their medians."""
        print(f"{self.title} ({len(self.ours)} rounds, median [min-max])")
        for name, times in (("jupyter_mlenv", self.ours), (self.peer, self.theirs)):
            print(f"  {name:34} {_show(statistics.median(times)):>9}   [{_show(min(times))} - {_show(max(times))}]")
        print(f"  {'ratio':34} {self.ratio:8.3f}x   target <= {self.target:g}x   {'met' if self.met else 'MISSED'}")


def _show(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
