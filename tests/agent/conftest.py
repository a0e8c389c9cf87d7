"""A person who has an empty folder for presets."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from jupyter_mlenv.settings import Settings


@pytest.fixture
def person(tmp_path: Path, run_root: str, owner: str, presets: Path) -> Settings:
    """Settings of this session's owner, with projects below `tmp_path`."""
    return Settings(
        owner=owner,
        uid=os.getuid(),
        gid=os.getgid(),
        username=getpass.getuser(),
        run_root=run_root,
        preset_paths=(str(presets),),
        allowed_workspaces=(str(tmp_path),),
        start_timeout=120.0,
    )
