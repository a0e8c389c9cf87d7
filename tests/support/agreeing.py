"""Agreeing to a project's preset, as a person does before it is used, for tests that are about something else."""

from __future__ import annotations

from pathlib import Path

from jupyter_mlenv import presets
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.planning import consent
from jupyter_mlenv.settings import Settings


def agree(settings: Settings, folder: Path | str) -> None:
    """Agree to what the project's files say now."""
    found, broken = presets.load(settings, str(folder))
    project = consent.of_project(found, broken, str(folder)).project
    assert project is not None
    consent.agree(found, broken, settings, str(folder), project.digest)


def agreed(environments: Environments, folder: Path | str) -> None:
    """The same with the settings of these use cases."""
    agree(environments.settings, folder)
