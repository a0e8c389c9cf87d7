"""Preset, request, facts of the engine and files that were read -> Plan. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

from .. import mounts as targets
from .._version import __version__
from ..container_layout import AGENT_PORT, AGENT_START, LABEL, RUN_DIR, TOKEN_PATH, inside
from ..engines.base import EngineFacts
from ..engines.gpus import NONE
from ..engines.model import ContainerSpec, Mount, Resources
from ..presets.model import Preset
from ..serialization import to_plain
from ..settings import Settings
from . import container_files, install_hint, limits, package_index, person, recipe, variables
from .image_names import apply_alias
from .label import from_label, makes_sense, to_label
from .model import Plan, PlanInputs, StartRequest, container_name, environment_id, run_directory_of

__all__ = ["apply_alias", "from_label", "make", "makes_sense", "to_label"]


def make(preset: Preset, request: StartRequest, facts: EngineFacts, settings: Settings, inputs: PlanInputs) -> Plan:
    """Return everything that a start of this preset in this workspace needs.

    Raises
    ------
    LimitExceeded
        More than a maximum.
    MountForbidden
        A mount would cover what the container needs, or what is put into it.
    """
    shared = facts.shares_filesystem
    id = environment_id(settings.owner, request.workspace, preset.name, request.name)
    image, host = inputs.image, inputs.host
    python = _python(preset, settings)
    resources = _resources(preset, request, settings)
    asked = (*preset.mounts, *request.mounts)
    home = person.home(settings, request.workspace, asked)
    # One directory per environment below the run root, short: a socket path holds 107 bytes at most.
    run_dir = run_directory_of(settings.run_root, id) if shared else ""
    mounts = _mounts(request, run_dir, inputs)
    note, places = install_hint.note(preset, request, id, python), [mount.target for mount in mounts]
    files = (
        *container_files.files(settings, note, home, places, inputs, shared=shared),
        *variables.files(settings, preset, variables.proxies(settings)),
        *(host.files if host else ()),
    )
    targets.check(asked, request.workspace, (entry.path for entry in files), home, inputs.own_mounts)
    own = {"HOME": home, "MLENV_ID": id, "MLENV_PRESET": preset.name, "MLENV_WORKSPACE": request.workspace}
    spec = ContainerSpec(
        name=container_name(id),
        image=image.reference,
        command=_agent(python, settings, shared=shared),
        env=_counted(_env(preset, settings, inputs, own), settings, resources),
        user=f"{settings.uid}:{settings.gid}",
        groups=tuple(number for number, _ in settings.groups),
        workdir=request.workspace,
        hostname=preset.name,
        mounts=mounts,
        empty_folders=host.empty_folders if host else (),
        empty_files=host.empty_files if host else (),
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
        notes=(*inputs.notes, *_gpu_note(resources, settings)),
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


def _agent(python: str, settings: Settings, *, shared: bool) -> tuple[str, ...]:
    # What `-I` does, in words that a Python too old for the agent understands too: it is to say so itself.
    command = (python, "-E", "-s", "-S", "-u", AGENT_START, "--run-dir", RUN_DIR, "--token", TOKEN_PATH)
    where = () if shared else ("--port", str(AGENT_PORT))
    return (*command, "--umask", f"{settings.umask:03o}", *where)


def maxima(settings: Settings) -> limits.Maxima:
    """Return the maxima of environments."""
    return limits.Maxima(settings.max_memory, settings.max_cpus, settings.max_pids, settings.max_gpus)


def _resources(preset: Preset, request: StartRequest, settings: Settings) -> Resources:
    asked = Resources(**{**_set(preset.resources), **_set(request)})
    granted = limits.granted(asked, settings.resources, maxima(settings), gpu=preset.gpu and request.gpus is None)
    return dataclasses.replace(granted, gpus=limits.narrowed(granted.gpus, settings.own_gpus))


def _gpu_note(resources: Resources, settings: Settings) -> tuple[str, ...]:
    devices = resources.gpus.devices
    if settings.own_gpus is None or not devices or not set(devices) <= set(settings.own_gpus):
        return ()
    return (f"It gets the GPUs {', '.join(devices)}, which this Jupyter was given, and no other.",)


def _set(source: Resources | StartRequest) -> dict[str, Any]:
    """The limits that are really set here. A request for no GPU is one, too."""
    values = {f.name: getattr(source, f.name, None) for f in dataclasses.fields(Resources)}
    unset = (None,) if isinstance(source, StartRequest) else (None, NONE)
    return {name: value for name, value in values.items() if value not in unset}


def _env(preset: Preset, settings: Settings, inputs: PlanInputs, own: dict[str, str]) -> dict[str, str]:
    python = _python(preset, settings)
    env = {
        **own,
        "USER": settings.username,
        "LOGNAME": settings.username,
        "SHELL": "/bin/bash" if inputs.host and inputs.host.has_bash else "/bin/sh",
        "LANG": "C.UTF-8",
    }
    if settings.timezone:
        env["TZ"] = settings.timezone
    if preset.uses_host_python:
        # The image has no PATH of its own, and a venv's programs are found only through it.
        env["PATH"] = ":".join(dict.fromkeys([os.path.dirname(python), "/usr/local/bin", "/usr/bin", "/bin"]))
        env["PIP_BREAK_SYSTEM_PACKAGES"] = "1"  # what it would break is mounted read-only
    return variables.of_container(preset, variables.proxies(settings), {**env, **package_index.variables(settings)})


def _counted(env: dict[str, str], settings: Settings, resources: Resources) -> dict[str, str]:
    """Take out variables by which an image or a preset would get around a count of GPUs; the engine adds its own."""
    if settings.max_gpus is None:
        return env
    kept = {name: value for name, value in env.items() if name not in limits.NO_GPU}
    return kept if resources.gpus else kept | limits.NO_GPU


def _mounts(request: StartRequest, run_dir: str, inputs: PlanInputs) -> tuple[Mount, ...]:
    own = [Mount(request.workspace, request.workspace), *inputs.own_mounts]
    own += [Mount(inside(run_dir), RUN_DIR)] if run_dir else []
    lent = inputs.host.mounts if inputs.host else ()
    # Two mounts on one place are an error of the engine; what was asked for last wins.
    return tuple({mount.target: mount for mount in (*lent, *own, *inputs.mounts)}.values())


def _hash(plan: Plan) -> str:
    """16 hex digits of all that was asked for: another hash means that a fresh container would differ.

    What differs between two shells of one person (umask, groups, time zone, git's name) is not asked for.
    """
    spec, files = plan.container, [file for file in plan.files if not person.varies(file.path)]
    at = spec.command.index("--umask")
    command, env = (*spec.command[:at], *spec.command[at + 2 :]), {k: v for k, v in spec.env.items() if k != "TZ"}
    content = [
        to_plain(dataclasses.replace(spec, labels={}, command=command, env=env, groups=())),
        plan.image.reference,
        [[f.path, f.mode, f.uid, f.gid, hashlib.sha256(f.data or b"").hexdigest()] for f in files],
        [to_plain(endpoint) for endpoint in plan.endpoints],
        to_plain(plan.kernel),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
