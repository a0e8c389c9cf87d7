"""Pure: preset + workspace + engine facts -> Plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from .. import mounts as targets
from .._version import __version__
from ..container_layout import AGENT_PORT, AGENT_START, LABEL, RUN_DIR, TOKEN_PATH, inside
from ..engines.base import EngineFacts, ImageInfo
from ..engines.gpus import NONE
from ..engines.model import ContainerSpec, Mount, Resources
from ..presets.model import Preset
from ..serialization import to_plain
from ..settings import Settings
from . import (
    container_files,
    host_config,
    host_python,
    image_plan,
    install_hint,
    limits,
    mount_sources,
    package_index,
    recipe,
    variables,
)
from .image_names import apply_alias
from .label import from_label, makes_sense, to_label
from .model import Plan, StartRequest, container_name, environment_id, run_directory_of

__all__ = ["apply_alias", "from_label", "make", "makes_sense", "to_label"]


def make(
    preset: Preset,
    request: StartRequest,
    facts: EngineFacts,
    settings: Settings,
    *,
    earlier: Iterable[ImageInfo] = (),
    pause: Callable[[], None] = lambda: None,
    writable: Iterable[str] = (),
) -> Plan:
    """Everything that a start of this preset in this workspace needs.

    Blocks: it reads the files that the preset names (Dockerfile, requirements), the names and times of what an own
    Dockerfile copies, the CA bundle when it has changed and, for the `host` preset, which of the host's folders exist.

    Parameters
    ----------
    earlier
        Images we built before; one that shares packages with this one lends its layers.
    writable
        Folders that code in other environments can write: no link in there, nor in the workspace, leads to a mount.
    pause
        Called now and then while files are looked at; what it raises ends the planning.

    Raises
    ------
    PresetInvalid
        A file that the preset names cannot be read.
    LimitExceeded
        More than a maximum, or an image that is not allowed.
    MountForbidden
        A link that code in an environment could have made leads to a mount, or a mount would cover what the container
        needs, or what is put into it.
    MlenvError
        The `host` preset would have to mount the home directory, or the CA bundle cannot be read.
    """
    shared = facts.shares_filesystem
    id = environment_id(settings.owner, request.workspace, preset.name, request.name)
    image = image_plan.make(
        preset, request.workspace, facts, settings, earlier=[info.labels for info in earlier], pause=pause
    )
    python = _python(preset, settings)
    resources = _resources(preset, request, settings)
    files = (
        *container_files.files(
            settings, install_hint.note(preset, request, id, python), request.workspace, shared=shared
        ),
        *variables.files(settings, preset, image_plan.proxies(settings)),
        *(host_config.files(host_python.prefixes(settings)) if preset.uses_host_python else ()),
    )
    asked = (*preset.mounts, *request.mounts)
    home = container_files.home(settings, request.workspace)
    targets.check(asked, request.workspace, (entry.path for entry in files), home)
    prefixes = ("/usr", *host_python.prefixes(settings)) if preset.uses_host_python else ()
    empty_folders, empty_files = host_config.hidden(prefixes) if prefixes else ((), ())
    # One directory per environment below the run root, short: a socket path holds 107 bytes at most.
    run_dir = run_directory_of(settings.run_root, id) if shared else ""
    # What `-I` does, in words that a Python too old for the agent understands too: it is to say so itself.
    command = (python, "-E", "-s", "-S", "-u", AGENT_START, "--run-dir", RUN_DIR, "--token", TOKEN_PATH)
    spec = ContainerSpec(
        name=container_name(id),
        image=image.reference,
        command=command if run_dir else (*command, "--port", str(AGENT_PORT)),
        env=_counted(_env(preset, request, settings, id, python), settings, resources),
        user=f"{settings.uid}:{settings.gid}",
        workdir=request.workspace,
        hostname=preset.name,
        mounts=_mounts(preset, request, settings, run_dir, writable),
        empty_folders=empty_folders,
        empty_files=empty_files,
        resources=resources,
        network=preset.network or settings.network,
        publish=() if run_dir else (AGENT_PORT,),
    )
    plan = Plan(
        id=id,
        preset=preset.name,
        title=preset.title,
        owner=settings.owner,
        workspace=request.workspace,
        name=request.name,
        image=image,
        container=spec,
        endpoints=tuple(dataclasses.replace(e, open=e.open.replace("{id}", id)) for e in preset.endpoints),
        files=files,
        icon=preset.icon,
        gpu=preset.gpu,
        twin=preset.twin,
        python=python,
        kernel=preset.kernel,
    )
    plan = dataclasses.replace(plan, hash=_hash(plan))
    labels = {
        "id": id,
        "owner": settings.owner,
        "preset": preset.name,
        "workspace": request.workspace,
        "name": request.name,
        "plan": to_label(plan),
        "run": run_dir,
        "version": __version__,
        "recipe": recipe.digest(preset, image),
    }
    if request.mounts:
        labels["asked"] = "\n".join(targets.clean(mount.target) for mount in request.mounts)
    labelled = dataclasses.replace(spec, labels={f"{LABEL}.{key}": value for key, value in labels.items()})
    return dataclasses.replace(plan, container=labelled)


def _python(preset: Preset, settings: Settings) -> str:
    if not preset.uses_host_python:
        return preset.image.python
    return settings.host_python or preset.image.python


def maxima(settings: Settings) -> limits.Maxima:
    """What environments may have at most."""
    return limits.Maxima(settings.max_memory, settings.max_cpus, settings.max_pids, settings.max_gpus)


def _resources(preset: Preset, request: StartRequest, settings: Settings) -> Resources:
    asked = Resources(**{**_set(preset.resources), **_set(request)})
    return limits.granted(asked, settings.resources, maxima(settings), gpu=preset.gpu and request.gpus is None)


def _set(source: Resources | StartRequest) -> dict[str, Any]:
    """The limits that are really set here. A request for no GPU is one, too."""
    values = {f.name: getattr(source, f.name, None) for f in dataclasses.fields(Resources)}
    unset = (None,) if isinstance(source, StartRequest) else (None, NONE)
    return {name: value for name, value in values.items() if value not in unset}


def _env(preset: Preset, request: StartRequest, settings: Settings, id: str, python: str) -> dict[str, str]:
    env = {
        "HOME": container_files.home(settings, request.workspace),
        "USER": settings.username,
        "LOGNAME": settings.username,
        "SHELL": "/bin/bash" if preset.uses_host_python and os.path.exists("/bin/bash") else "/bin/sh",
        "LANG": "C.UTF-8",
        "MLENV_ID": id,
        "MLENV_PRESET": preset.name,
        "MLENV_WORKSPACE": request.workspace,
    }
    if preset.uses_host_python:
        # The image has no PATH of its own, and a venv's programs are found only through it.
        env["PATH"] = ":".join(dict.fromkeys([os.path.dirname(python), "/usr/local/bin", "/usr/bin", "/bin"]))
        env["PIP_BREAK_SYSTEM_PACKAGES"] = "1"  # what it would break is mounted read-only
    return variables.of_container(preset, image_plan.proxies(settings), {**env, **package_index.variables(settings)})


def _counted(env: dict[str, str], settings: Settings, resources: Resources) -> dict[str, str]:
    """Where GPUs are counted, an image's or preset's variable is no way around that; the engine adds its own."""
    if settings.max_gpus is None:
        return env
    kept = {name: value for name, value in env.items() if name not in limits.NO_GPU}
    return kept if resources.gpus else kept | limits.NO_GPU


def _mounts(
    preset: Preset, request: StartRequest, settings: Settings, run_dir: str, writable: Iterable[str]
) -> tuple[Mount, ...]:
    mounts = list(host_python.mounts(settings)) if preset.uses_host_python else []
    for mount in (*preset.mounts, *request.mounts):
        mounts.append(dataclasses.replace(mount, target=targets.clean(mount.target)))
    mounts = list(mount_sources.resolved(mounts, (request.workspace, *writable)))
    # Two mounts on one place are an error of the engine; what was asked for last wins.
    own = [Mount(request.workspace, request.workspace), *host_python.own_mounts(settings, request.workspace)]
    own += [Mount(inside(run_dir), RUN_DIR)] if run_dir else []
    lent = len(mounts) - len(preset.mounts) - len(request.mounts)
    return tuple({mount.target: mount for mount in (*mounts[:lent], *own, *mounts[lent:])}.values())


def _hash(plan: Plan) -> str:
    """16 hex digits of all that the container sees: another hash means that a fresh container would differ."""
    content = [
        to_plain(dataclasses.replace(plan.container, labels={})),
        plan.image.reference,
        [[f.path, f.mode, f.uid, f.gid, hashlib.sha256(f.data or b"").hexdigest()] for f in plan.files],
        [to_plain(endpoint) for endpoint in plan.endpoints],
        to_plain(plan.kernel),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
