"""Every test here needs the engine; the session's sweep at its end comes with it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _engine(engine_ready: str) -> None:
    """Set up first, so torn down last: after every other fixture has cleaned up."""
