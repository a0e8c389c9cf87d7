"""Pure: preset + workspace + engine facts -> Plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import (
    allowedimages,
    dockerfile,
    hostconfig,
    hostpython,
    insides,
    keepnote,
    limits,
    owndockerfile,
    pipsettings,
    projectfiles,
    variables,
)
from . import mounts as targets
from ._version import __version__
from .aliases import apply_alias
from .engines.base import EngineFacts, ImageInfo
from .errors import PresetInvalid
from .model import (
    AGENT_PORT,
    AGENT_START,
    LABEL,
    RUN_DIR,
    TOKEN_PATH,
    BuildRecipe,
    ContainerSpec,
    ImagePlan,
    Mount,
    Plan,
    Preset,
    Resources,
    Settings,
    StartRequest,
    container_name,
    environment_id,
    inside,
    to_plain,
)
from .planlabel import from_label, to_label

__all__ = ["apply_alias", "from_label", "make", "to_label"]


def make(
    preset: Preset,
    request: StartRequest,
    facts: EngineFacts,
    settings: Settings,
    *,
    earlier: Iterable[ImageInfo] = (),
) -> Plan:
    """Everything that a start of this preset in this workspace needs.

    Reads only small files that the preset names (Dockerfile, requirements), the CA bundle when it has changed and, for
    the `host` preset, which of the host's folders exist.

    Parameters
    ----------
    earlier
        Images we built before; one that shares packages with this one lends its layers.

    Raises
    ------
    PresetInvalid
        A file that the preset names cannot be read.
    LimitExceeded
        More than a maximum, or an image that is not allowed.
    MountForbidden
        A mount would cover what the container needs, or what is put into it.
    MlenvError
        The `host` preset would have to mount the home directory, or the CA bundle cannot be read.
    """
    shared = facts.shares_filesystem
    id = environment_id(settings.owner, request.workspace, preset.name, request.name)
    image = _image(preset, facts, settings, [info.labels for info in earlier])
    python = _python(preset, settings)
    resources = _resources(preset, request, settings)
    files = (
        *insides.files(settings, keepnote.note(preset, request, id, python), request.workspace, shared=shared),
        *variables.files(settings, preset, _proxies(settings)),
        *(hostconfig.files(hostpython.prefixes(settings)) if preset.image.host else ()),
    )
    asked = (*preset.mounts, *request.mounts)
    home = insides.home(settings, request.workspace)
    targets.check(asked, request.workspace, (entry.path for entry in files), home)
    prefixes = ("/usr", *hostpython.prefixes(settings)) if preset.image.host else ()
    empty_folders, empty_files = hostconfig.hidden(prefixes) if prefixes else ((), ())
    # One directory per environment below the run root, short: a socket path holds 107 bytes at most.
    run_dir = os.path.join(settings.run_root, id[-10:]) if shared else ""
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
        mounts=_mounts(preset, request, settings, run_dir),
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
    }
    labelled = dataclasses.replace(spec, labels={f"{LABEL}.{key}": value for key, value in labels.items()})
    return dataclasses.replace(plan, container=labelled)


def _image(preset: Preset, facts: EngineFacts, settings: Settings, earlier: Sequence[Mapping[str, str]]) -> ImagePlan:
    source = preset.image
    if source.host:
        return ImagePlan("host", hostpython.reference())
    if source.base or source.reference:
        used = apply_alias(source.base or source.reference, settings.image_aliases)
        allowedimages.check([used], settings.allowed_images, f'The preset "{preset.name}"')
    buildkit = facts.buildkit and settings.builder != "classic"
    if source.dockerfile:
        recipe = _own_dockerfile(preset, settings)
    elif source.base or source.add_jupyter:
        recipe = _generated(preset, settings, earlier, buildkit=buildkit)
    else:
        return ImagePlan("pull", apply_alias(source.reference, settings.image_aliases))
    return ImagePlan("build", recipe.tag, recipe)


def _generated(
    preset: Preset, settings: Settings, earlier: Sequence[Mapping[str, str]], *, buildkit: bool
) -> BuildRecipe:
    source = preset.image
    text = _read(preset, source.requirements) if source.requirements else ""
    listed, rest = dockerfile.fold_requirements(text)
    request = dockerfile.ImageRequest(
        base=apply_alias(source.base or source.reference, settings.image_aliases),
        python=source.python,
        doors=source.add_jupyter,
        apt=source.apt,
        pip=tuple(dict.fromkeys((*source.pip, *listed))),
        pip_index=source.pip_index,
        requirements=rest,
    )
    return dockerfile.recipe(request, preset.name, earlier=earlier, buildkit=buildkit)


def _own_dockerfile(preset: Preset, settings: Settings) -> BuildRecipe:
    source = preset.image
    text = _read(preset, source.dockerfile)
    if settings.allowed_images:
        used = allowedimages.used(text, source.args)
        allowedimages.check(used, settings.allowed_images, f'The Dockerfile of the preset "{preset.name}"')
    context = source.context or os.path.dirname(os.path.join(preset.directory, source.dockerfile))
    return owndockerfile.recipe(
        preset.name,
        text,
        os.path.join(preset.directory, context),
        target=source.target,
        args=source.args,
        proxies=_proxies(settings),
    )


def _read(preset: Preset, path: str) -> str:
    full = os.path.join(preset.directory, path)
    try:
        if preset.project and projectfiles.holds(preset.project, full):
            return projectfiles.text(preset.project, full)  # what was agreed to, whatever the file says by now
        with open(full, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PresetInvalid(
            f'The preset "{preset.name}" names {path}, which cannot be read: {error}.',
            hint=f"Make the file, or change {preset.source}.",
            details={"file": preset.source, "field": "image"},
        ) from error


def _python(preset: Preset, settings: Settings) -> str:
    if not preset.image.host:
        return preset.image.python
    return settings.host_python or preset.image.python


def maxima(settings: Settings) -> limits.Maxima:
    """What environments may have at most."""
    return limits.Maxima(settings.max_memory, settings.max_cpus, settings.max_pids, settings.max_gpus)


def _resources(preset: Preset, request: StartRequest, settings: Settings) -> Resources:
    asked = Resources(**{**_set(preset.resources), **_set(request)})
    return limits.granted(asked, settings.resources, maxima(settings), gpu=preset.gpu and request.gpus is None)


def _set(source: Resources | StartRequest) -> dict[str, Any]:
    """The limits that are really set here. An empty `gpus` of a request says: none."""
    values = {f.name: getattr(source, f.name, None) for f in dataclasses.fields(Resources)}
    unset = (None,) if isinstance(source, StartRequest) else (None, "")
    return {name: value for name, value in values.items() if value not in unset}


def _env(preset: Preset, request: StartRequest, settings: Settings, id: str, python: str) -> dict[str, str]:
    env = {
        "HOME": insides.home(settings, request.workspace),
        "USER": settings.username,
        "LOGNAME": settings.username,
        "SHELL": "/bin/bash" if preset.image.host and os.path.exists("/bin/bash") else "/bin/sh",
        "LANG": "C.UTF-8",
        "MLENV_ID": id,
        "MLENV_PRESET": preset.name,
        "MLENV_WORKSPACE": request.workspace,
    }
    if preset.image.host:
        # The image has no PATH of its own, and a venv's programs are found only through it.
        env["PATH"] = ":".join(dict.fromkeys([os.path.dirname(python), "/usr/local/bin", "/usr/bin", "/bin"]))
        env["PIP_BREAK_SYSTEM_PACKAGES"] = "1"  # what it would break is mounted read-only
    return variables.of_container(preset, _proxies(settings), {**env, **pipsettings.variables(settings)})


def _counted(env: dict[str, str], settings: Settings, resources: Resources) -> dict[str, str]:
    """Where GPUs are counted, an image's or preset's variable is no way around that; the engine adds its own."""
    if settings.max_gpus is None:
        return env
    kept = {name: value for name, value in env.items() if name not in limits.NO_GPU}
    return kept if resources.gpus else kept | limits.NO_GPU


def _proxies(settings: Settings) -> dict[str, str]:
    """In both cases, since programs disagree about which one they read."""
    return {form: value for name, value in settings.proxies.items() for form in (name.lower(), name.upper())}


def _mounts(preset: Preset, request: StartRequest, settings: Settings, run_dir: str) -> tuple[Mount, ...]:
    mounts = list(hostpython.mounts(settings)) if preset.image.host else []
    mounts.append(Mount(request.workspace, request.workspace))
    if run_dir:
        mounts.append(Mount(inside(run_dir), RUN_DIR))
    for mount in (*preset.mounts, *request.mounts):
        mounts.append(dataclasses.replace(mount, target=targets.clean(mount.target)))
    # Two mounts on one place are an error of the engine; what was asked for last wins.
    return tuple({mount.target: mount for mount in mounts}.values())


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
