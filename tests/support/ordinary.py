"""An ordinary person at a terminal of this machine: a home directory, groups, and Python commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .lab import PERSON, as_person, give, variables_of
from .repository import ROOT


@dataclass(frozen=True)
class Ordinary:
    """A person with this home directory; `variables` are what their shell has exported."""

    home: Path
    uid: int = PERSON if os.getuid() == 0 else os.getuid()
    groups: tuple[int, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return variables_of(self.home, {"PYTHONPATH": str(ROOT), **self.variables})

    def write(self, name: str, text: str) -> Path:
        """Write a file of the person's, in a folder of theirs below the home directory."""
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for path in (file, *file.parents):
            if path == self.home:
                break
            give(path, self.uid)
        return file

    def configure(self, **traits: object) -> None:
        """Write the person's own settings of ours."""
        self.write(".jupyter/jupyter_mlenv_config.json", json.dumps({"MlenvConfig": traits}))

    def run(self, folder: Path, *command: str, umask: int = -1, **more: str) -> subprocess.CompletedProcess[str]:
        """What the person gets from a Python command in this folder; `more` variables are set for it alone."""
        return subprocess.run(
            [*as_person(self.uid, *self.groups), sys.executable, *command],
            cwd=folder,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            umask=umask,
        )

    def mlenv(self, folder: Path, *words: str, umask: int = -1, **more: str) -> str:
        """What `jupyter mlenv …` prints to the person in a folder."""
        done = self.run(folder, "-m", "jupyter_mlenv.cli", *words, umask=umask, **more)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr
