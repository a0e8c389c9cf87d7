"""The inputs of a plan that lie on this machine's disks: read before it is made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable

from .. import mounts as targets
from ..engines.base import EngineFacts, ImageInfo
from ..engines.model import Mount
from ..presets.model import Preset
from ..settings import Settings
from . import (
    agent_package,
    git,
    host_config,
    host_python,
    image_plan,
    links,
    mount_sources,
    package_index,
    person,
    shared_folders,
    timezone,
)
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
    repository, note = git.directory(request.workspace, settings)
    beside = (Mount(repository, repository),) if repository else ()
    kept = host_python.own_mounts(settings, request.workspace)
    mounts = mount_sources.resolved(asked, places)
    own = (*beside, *kept, *_shared(preset, request, settings, places))
    host = _host(settings, places) if preset.uses_host_python else None
    there = (*mounts, *own, *(host.mounts if host else ()))
    seen = [mount.source for mount in there if mount.source == mount.target]
    return PlanInputs(
        image=image,
        agent=agent_package.files(),
        ca_bundle=host_python.ca_bundle(settings) if package_index.variables(settings) else None,
        mounts=mounts,
        own_mounts=own,
        host=host,
        # The preset `host` lends this machine's own database.
        zone=None if preset.uses_host_python else timezone.read(preset.env.get("TZ", settings.timezone)),
        git=git.identity(request.workspace) if settings.git_identity else ("", ""),
        notes=(*filter(None, [note]), *links.notes(request.workspace, seen, pause)),
    )


def _shared(preset: Preset, request: StartRequest, settings: Settings, places: Iterable[str]) -> tuple[Mount, ...]:
    if not settings.shared_folders:
        return ()
    asked = (*preset.mounts, *request.mounts)
    home = person.home(settings, request.workspace, asked)
    return shared_folders.mounts(settings, home, places)


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
