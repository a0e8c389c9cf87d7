"""The nouns of planning: what a person asks for, and the plan that answers it. Frozen dataclasses, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from ..engines.gpus import GpuRequest
from ..engines.model import BuildRecipe, ContainerSpec, FileEntry, Mount
from ..presets.model import Endpoint, KernelOptions

ISOLATED = "kernel-"
"""The beginning of the name of an environment that belongs to one kernel; the kernel's id follows."""

LEFTOVER_AGE_SECONDS = 120.0
"""Seconds after which an environment of one kernel that no kernel runs in is a leftover of a client that died."""


@dataclass(frozen=True)
class ImagePlan:
    """The way of an image onto the engine: `host` imports a tar of a few bytes, `pull` pulls, `build` builds."""

    kind: Literal["host", "pull", "build"]
    reference: str
    recipe: BuildRecipe | None = None


@dataclass(frozen=True)
class HostInputs:
    """The parts of this machine that the preset `host` lends: mounts, settings, and places that are to look empty."""

    mounts: tuple[Mount, ...]
    files: tuple[FileEntry, ...]
    empty_folders: tuple[str, ...]
    empty_files: tuple[str, ...]
    has_bash: bool


@dataclass(frozen=True)
class Zone:
    """A time zone: its name, such as `Europe/Paris`, and its file of the time zone database (RFC 8536)."""

    name: str
    data: bytes


@dataclass(frozen=True)
class PlanInputs:
    """All that `plan.make` has to know of files.

    `mounts` are those of the preset and the request, without links on the way to their sources. `own_mounts` are
    added by us: the git directory of a worktree, the Python that runs Jupyter, read-only, and shared folders. `host`
    is None for other presets than `host`. `zone` is the time zone's own file where the container needs one. `git` is
    the person's name and e-mail. `notes` are sentences about the project for the person.
    """

    image: ImagePlan
    agent: tuple[FileEntry, ...]
    ca_bundle: bytes | None
    mounts: tuple[Mount, ...]
    own_mounts: tuple[Mount, ...]
    host: HostInputs | None = None
    zone: Zone | None = None
    git: tuple[str, str] = ("", "")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Preset + workspace + engine facts, fully resolved. Pure data; `hash` covers all that the container sees."""

    id: str
    preset: str
    title: str
    owner: str
    workspace: str
    name: str
    image: ImagePlan
    container: ContainerSpec
    endpoints: tuple[Endpoint, ...]
    files: tuple[FileEntry, ...] = ()
    icon: str = ""
    gpu: bool = False
    twin: str = ""
    python: str = "python3"
    hash: str = ""
    kernel: KernelOptions = KernelOptions()
    notes: tuple[str, ...] = ()  # sentences that a person is told at the start; not kept


@dataclass(frozen=True)
class StartRequest:
    """A request for an environment. Overrides are empty or `None` where the preset decides.

    `workspace` is an absolute directory, already resolved by `workspaces.py`. `endpoint`: also wait until this
    endpoint answers.
    """

    preset: str
    workspace: str
    name: str = ""
    gpus: GpuRequest | None = None
    memory: int | None = None
    cpus: float | None = None
    mounts: tuple[Mount, ...] = ()
    recreate: bool = False
    endpoint: str = ""


def environment_id(owner: str, workspace: str, preset: str, name: str = "") -> str:
    """The deterministic id `<preset>-<10 hex digits>`; the same four inputs always name the same environment."""
    digest = hashlib.sha256("\0".join((owner, workspace, preset, name)).encode()).hexdigest()
    return f"{preset}-{digest[:10]}"


def run_directory_of(run_root: str, id: str) -> str:
    """Return the run directory of an environment: the digits of its id, since socket paths are short."""
    return f"{run_root}/{id[-10:]}"


def container_name(environment: str) -> str:
    """The engine-side name; its uniqueness is what makes two simultaneous starts end in one environment."""
    return f"mlenv-{environment}"
