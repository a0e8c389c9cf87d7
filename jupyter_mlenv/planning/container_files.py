"""The files of a container before it starts: the person, a home directory with a few settings, the agent. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from ..container_layout import AGENT_FOLDER, AGENT_PACKAGE, RUN_DIR
from ..engines.model import FileEntry
from ..settings import Settings
from . import package_index, person
from .model import Plan, PlanInputs

STARTUP = ".ipython/profile_default/startup/00-mlenv.py"
"""The file that every IPython of the home directory runs first. It watches for `%pip install`."""


def files(
    settings: Settings,
    note: Mapping[str, str],
    place: str,
    targets: Iterable[str],
    inputs: PlanInputs,
    *,
    shared: bool,
) -> tuple[FileEntry, ...]:
    """Return all files but those of the preset `host`.

    Parameters
    ----------
    note
        What is said to a person who installs packages in the environment.
    place
        The home directory inside.
    targets
        Where something is mounted.
    shared
        Whether the run directory is one of the engine's host.
    """
    startup = next(entry.data or b"" for entry in inputs.agent if entry.path == f"{AGENT_PACKAGE}/ipython/startup.py")
    entries = [
        *person.files(settings, place, targets, inputs.git),
        *_quiet_lab(settings, place),
        *person.below(settings, place, STARTUP, startup),
        *package_index.home_files(settings, place),
        *inputs.agent,
        FileEntry(f"{AGENT_PACKAGE}/ipython/keep.json", json.dumps(note).encode()),
    ]
    if inputs.ca_bundle is not None:
        entries.append(FileEntry(package_index.CA_PATH, inputs.ca_bundle))
    if inputs.zone is not None:
        entries += person.zone_files(inputs.zone)
    if not shared:
        entries.append(FileEntry(RUN_DIR, None, 0o700, settings.uid, settings.gid))
    return tuple(entries)


def with_entrypoint(plan: Plan, entrypoint: Sequence[str]) -> Plan:
    """The plan with the entrypoint of its image as a file, which the agent runs for what it sets."""
    path = f"{AGENT_FOLDER}/entrypoint.json"
    kept = [file for file in plan.files if file.path != path]
    if entrypoint:
        kept.append(FileEntry(path, json.dumps(list(entrypoint)).encode()))
    return dataclasses.replace(plan, files=tuple(kept))


def _quiet_lab(settings: Settings, place: str) -> list[FileEntry]:
    """The setting by which a JupyterLab does not ask whether it may fetch news: the outer one has asked already."""
    path = ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    return person.below(settings, place, path, json.dumps({"fetchNews": "false"}).encode())
