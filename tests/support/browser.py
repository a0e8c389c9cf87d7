"""Which browser the tests drive."""

from __future__ import annotations

import os
import shutil


def executable() -> str | None:
    """`$MLENV_TEST_BROWSER`, else Debian's chromium, else `None`: the one that playwright brings (Ubuntu)."""
    return os.environ.get("MLENV_TEST_BROWSER") or shutil.which("chromium")
