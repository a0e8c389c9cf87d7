"""The inputs of a plan that lie on this machine's disks: read before it is made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable

from .. import mounts as targets
from ..engines.base import EngineFacts, ImageInfo
from ..presets.model import Preset
from ..settings import Settings
from . import agent_package, host_config, host_python, image_plan, mount_sources, package_index
from .model import HostInputs, PlanInputs, StartRequest


def read(
    preset: Preset,
    request: StartRequest,
    facts: EngineFacts,
    settings: Settings,
    *,
    earlier: Iterable[ImageInfo] = (),
    pause: Callable[[], None] = lambda: None,
    writable: Iterable[str] = (),
) -> PlanInputs:
    """Read the files of a start. Blocks.

    They are those that the preset names (Dockerfile, requirements), the names and times of what an own Dockerfile
    copies, the CA bundle when it has changed and, for the preset `host`, which of this machine's folders exist.

    Parameters
    ----------
    earlier
        Images we built before; one that shares packages with this one lends its layers.
    writable
        Folders that code in other environments can write: no link in there, nor in the workspace, leads to a mount.
    pause
        Called now and then while files are looked at; what it raises ends the reading.

    Raises
    ------
    PresetInvalid
        A file that the preset names cannot be read.
    LimitExceeded
        An image that is not allowed.
    MountForbidden
        A link that code in an environment could have made leads to a mount.
    MlenvError
        The preset `host` would have to mount the home directory, or the CA bundle cannot be read.
    """
    labels = [info.labels for info in earlier]
    image = image_plan.make(preset, request.workspace, facts, settings, earlier=labels, pause=pause)
    asked = [dataclasses.replace(m, target=targets.clean(m.target)) for m in (*preset.mounts, *request.mounts)]
    places = (request.workspace, *writable)
    return PlanInputs(
        image=image,
        agent=agent_package.files(),
        ca_bundle=host_python.ca_bundle(settings) if package_index.variables(settings) else None,
        mounts=mount_sources.resolved(asked, places),
        own_mounts=host_python.own_mounts(settings, request.workspace),
        host=_host(settings, places) if preset.uses_host_python else None,
    )


def _host(settings: Settings, places: Iterable[str]) -> HostInputs:
    prefixes = host_python.prefixes(settings)
    empty_folders, empty_files = host_config.hidden(("/usr", *prefixes))
    return HostInputs(
        mounts=mount_sources.resolved(host_python.mounts(settings), places),
        files=tuple(host_config.files(prefixes)),
        empty_folders=tuple(empty_folders),
        empty_files=tuple(empty_files),
        has_bash=os.path.exists("/bin/bash"),
    )
