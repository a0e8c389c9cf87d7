"""A question on the terminal that is answered with yes or no."""

from __future__ import annotations

import select
import signal
import sys

from . import output

SIGNAL_SECONDS = 0.2
"""Seconds after which Ctrl-C is noticed that came right before a read, which it does not end."""


def can_ask() -> bool:
    """Return whether there is a terminal to ask on."""
    return output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)


def yes(question: str) -> bool:
    """Ask; only a clear yes is one."""
    # A blocking read is right here, since nothing else runs while a person thinks; Ctrl-C must end it at once.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        while not select.select([sys.stdin], [], [], SIGNAL_SECONDS)[0]:
            pass
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, handler)
