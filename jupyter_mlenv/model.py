"""The nouns of the project as frozen dataclasses. No I/O, no third-party imports.

preset → plan → image → environment → endpoint. See `docs/architecture.md` for the words.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .urls import endpoint_url

LABEL = "jupyter-mlenv"
"""Prefix of every label we set: `.id .owner .preset .workspace .name .plan .run .version`."""

AGENT_PORT = 8700
"""TCP port of the agent inside a container whose unix sockets the host cannot reach."""

RUN_DIR = "/run/mlenv"
"""Where sockets are, inside every container: what the host mounts there holds nothing that it trusts."""

INSIDE = "in"
"""The name, in a run directory on the host, of what is mounted there."""

AGENT_PATH = "/opt/jupyter-mlenv/agent.py"
AGENT_START = "/opt/jupyter-mlenv/start.py"
"""Where the agent is, inside every container."""

TOKEN_PATH = "/opt/jupyter-mlenv/token"  # noqa: S105  a path
"""Where the agent reads its token: a file that is put in before each start, in no directory that the host mounts."""

ISOLATED = "kernel-"
"""What the name of an environment that belongs to one kernel starts with; the kernel's id follows."""


class State(str, enum.Enum):
    """What a person is told about an environment."""

    PENDING = "pending"  # planned, a job works on it, no container yet
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Resources:
    """Limits of one environment; `None` means the engine's default.

    `memory` and `shm` in bytes, `cpus` in cores, `pids` a count. `gpus`: `"all"`, a count as digits (`"2"`),
    or a comma-separated list of device ids (`"device=0,1"`); empty for none.
    """

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    shm: int | None = None
    gpus: str = ""


@dataclass(frozen=True)
class Mount:
    """A directory or file of the engine's host, bind-mounted. Both paths absolute."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Endpoint:
    """A named web service inside an environment, started by the agent on the first request.

    `command` is an argv with the placeholders `{python} {socket} {port} {base_url} {base_url_noslash} {path_prefix}
    {workspace} {logdir}` (`path_prefix` is `base_url_noslash` percent-decoded, as WSGI servers want it); it listens on
    the unix socket `{socket}` or on `127.0.0.1:{port}` inside the container, never on another address.
    `ready` and `open` are paths below the base URL: the first answers below 500 once the service is up, the second is
    where a browser is sent (a preset writes `{id}` for the environment's id). `timeout` in seconds from start to ready.
    """

    name: str
    title: str
    command: tuple[str, ...]
    ready: str = ""
    open: str = ""
    icon: str = ""
    timeout: float = 60.0
    env: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""  # what to do if it exits at once, e.g. how to install it


@dataclass(frozen=True)
class ImageSource:
    """Where a preset's image comes from. Exactly one of `host`, `reference`, `base`, `dockerfile` is set.

    reference: pulled (jupyter added on top if `add_jupyter`); base: a generated Dockerfile on that image;
    dockerfile: a path, absolute or relative to the preset's directory, with `context` (default: its folder).
    """

    host: bool = False
    reference: str = ""
    base: str = ""
    dockerfile: str = ""
    context: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    pip_index: str = ""  # an extra index, e.g. the CPU wheels of PyTorch
    requirements: str = ""  # a requirements file, relative to the preset's directory
    add_jupyter: bool = False
    python: str = "python3"  # the interpreter inside the image that runs agent, kernels and services

    @property
    def origin(self) -> str:
        """Where the image comes from, in a few words for a person."""
        if self.host:
            return "this machine's Python"
        if self.reference:
            return _short(self.reference) + (" + JupyterLab" if self.add_jupyter else "")
        return f"built on {_short(self.base)}" if self.base else f"built from {self.dockerfile}"


@dataclass(frozen=True)
class KernelOptions:
    """How kernels of a preset start (used by the kernel provisioner).

    `spec` is the name of a kernelspec that the image brings; where it brings a kernel without one, `argv` and
    `interrupt_mode` are what it would say. Without either a kernel is the ipykernel of the image's Python.
    """

    display_name: str = ""
    spec: str = ""
    argv: tuple[str, ...] = ()
    language: str = "python"
    interrupt_mode: str = "signal"
    preload: tuple[str, ...] = ()
    isolate: bool = False
    fork: bool = True


@dataclass(frozen=True)
class Project:
    """The files of a project that say how its preset is built, read once: what is used is what a person agreed to.

    `folder` has no links in its path. `texts`: what was read, by absolute path. `digest`: SHA-256 of the files' names
    and bytes, 64 hex digits.
    """

    folder: str
    digest: str
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Consent:
    """What a person has to agree to before the preset of a project is used.

    `file` is the preset's file, `folder` the project's. `says`: what it would run and see, a plain sentence each.
    """

    file: str
    folder: str
    digest: str
    says: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The consent object of the REST API."""
        return {"file": self.file, "folder": self.folder, "digest": self.digest, "says": list(self.says)}


@dataclass(frozen=True)
class Preset:
    """A named recipe that a tile shows. Parsed from TOML by `presets/loader.py`; `source` is the file, or `catalog`.

    `project`: set if it comes with the workspace, and may so have come with a cloned repository. `consent`: set if
    nothing of it may be used before a person has agreed to it.
    """

    name: str
    title: str
    image: ImageSource
    description: str = ""
    icon: str = ""
    gpu: bool = False
    twin: str = ""  # the same preset for the other processor: CPU for a GPU preset and the reverse
    resources: Resources = Resources()
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    kernel: KernelOptions = KernelOptions()
    network: str = ""
    source: str = "catalog"
    directory: str = ""  # what relative paths in it are relative to
    project: Project | None = None
    consent: Consent | None = None

    def to_json(self, ready: bool | None) -> dict[str, Any]:
        """The preset object of the REST API and of `--json`. `ready`: its image is on the engine; `None`: not known."""
        names = ("name", "title", "description", "icon", "gpu", "twin", "source")
        consent = self.consent.to_json() if self.consent else None
        more = {"image": self.image.origin, "ready": ready, "consent": consent}
        return {name: getattr(self, name) for name in names} | more


@dataclass(frozen=True)
class FileEntry:
    """A file (or, with `data=None`, a directory) put into a container before it starts. Absolute `path`."""

    path: str
    data: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class BuildRecipe:
    """One image build. `tag` carries the content hash, so an image of that tag never needs building again.

    `files` are added to the context (path inside the context → content); `context` is a directory or empty, and no
    link in its path may lead out of `root`.
    `groups` are the package groups of the Dockerfile, one RUN each, kept as a label so that a later image that only
    adds packages reuses the layers of this one.
    """

    tag: str
    dockerfile: str
    context: str = ""
    root: str = "/"
    files: tuple[FileEntry, ...] = ()
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: int = 0


@dataclass(frozen=True)
class ImagePlan:
    """How the image gets onto the engine: `host` imports a tar of a few bytes, `pull` pulls, `build` builds."""

    kind: Literal["host", "pull", "build"]
    reference: str
    recipe: BuildRecipe | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """What an engine is asked to create, in no engine's own words."""

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""  # "uid:gid"
    workdir: str = ""
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    empty_folders: tuple[str, ...] = ()  # what a mount brings along and the container is to find empty
    empty_files: tuple[str, ...] = ()
    resources: Resources = Resources()
    network: str = ""
    publish: tuple[int, ...] = ()  # container ports published on the engine host's loopback, random host port
    stop_timeout: int = 10  # seconds between SIGTERM and SIGKILL


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


@dataclass(frozen=True)
class Environment:
    """One container made from a plan, as read back from the engine.

    `started` and `created` are ISO 8601 in UTC. `exit_code` and `oom_killed` describe the last exit of a stopped one.
    `warnings` say what the engine did not apply (a limit, a GPU). `outdated`: the preset has changed since.
    """

    id: str
    preset: str
    title: str
    name: str
    owner: str
    workspace: str
    state: State
    image: str
    endpoints: tuple[Endpoint, ...] = ()
    gpu: bool = False
    icon: str = ""
    container: str = ""  # the engine's own id
    run_dir: str = ""  # on the host; empty where the host cannot reach the container's unix sockets
    python: str = "python3"
    created: str = ""
    started: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    job: str = ""
    plan_hash: str = ""
    outdated: bool = False
    warnings: tuple[str, ...] = ()

    def to_json(self, server_base_url: str = "/") -> dict[str, Any]:
        """The environment object of the REST API and of `--json`."""
        return {
            "id": self.id,
            "preset": self.preset,
            "title": self.title,
            "name": self.name,
            "owner": self.owner,
            "workspace": self.workspace,
            "state": self.state.value,
            "image": self.image,
            "gpu": self.gpu,
            "icon": self.icon,
            "created": self.created,
            "started": self.started,
            "exit_code": self.exit_code,
            "oom_killed": self.oom_killed,
            "job": self.job or None,
            "outdated": self.outdated,
            "warnings": list(self.warnings),
            "endpoints": {
                e.name: {
                    "title": e.title,
                    "icon": e.icon,
                    "url": endpoint_url(server_base_url, self.id, e.name),
                    "open": endpoint_url(server_base_url, self.id, e.name) + e.open,
                }
                for e in self.endpoints
            },
        }


@dataclass(frozen=True)
class Progress:
    """Where a job is. `current` of `total` in `unit` (`bytes`, `steps`, `layers`) within `phase`; total 0: unknown."""

    phase: Literal["queued", "plan", "pull", "build", "create", "start", "service", "stop", "done"]
    message: str = ""
    current: int = 0
    total: int = 0
    unit: str = ""

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1 within the phase, `None` when the total is unknown."""
        return min(1.0, self.current / self.total) if self.total > 0 else None


class Reporter(Protocol):
    """Where long work says how far it is. Cheap to call often; both are called from the event loop's thread."""

    def progress(self, progress: Progress) -> None: ...

    def log(self, line: str) -> None: ...


@dataclass(frozen=True)
class StartRequest:
    """What a person asked for. Overrides are empty or `None` where the preset decides.

    `workspace` is an absolute directory, already resolved by `workspaces.py`. `endpoint`: also wait until this
    endpoint answers.
    """

    preset: str
    workspace: str
    name: str = ""
    gpus: str | None = None
    memory: int | None = None
    cpus: float | None = None
    mounts: tuple[Mount, ...] = ()
    recreate: bool = False
    endpoint: str = ""


@dataclass(frozen=True)
class Settings:
    """Every knob, as plain data; `config.py` makes it from traits. Core modules see only this."""

    owner: str
    uid: int
    gid: int
    username: str
    run_root: str
    allowed_workspaces: tuple[str, ...] = ()
    allow_home: bool = False
    root_dir: str = ""  # the server's root directory: a workspace is never above it
    image_aliases: Mapping[str, str] = field(default_factory=dict)
    preset_paths: tuple[str, ...] = ()  # directories, first wins
    agreements: str = ""  # the file that remembers which projects' presets were agreed to; empty: none is
    network: str = ""
    builder: Literal["auto", "buildkit", "classic"] = "auto"
    ca_bundle: str = ""  # PEM file that builds and, with `pass_pip_settings`, environments must trust
    proxies: Mapping[str, str] = field(default_factory=dict)  # http_proxy, https_proxy, no_proxy
    pip_env: Mapping[str, str] = field(default_factory=dict)  # index settings, e.g. PIP_INDEX_URL
    pass_pip_settings: bool = True  # whether environments get those two, as builds always do
    resources: Resources = Resources(pids=4096)  # where a preset says nothing
    max_memory: int | None = None  # bytes that an environment may have at most; None: as much as is asked for
    max_cpus: float | None = None
    max_pids: int | None = None
    max_gpus: int | None = None
    allowed_images: tuple[str, ...] = ()  # patterns; none: every image
    project_presets: bool = True  # whether a workspace's mlenv.toml is offered
    start_timeout: float = 60.0  # seconds from container start to agent ready
    kernel_grace: float = 60.0  # seconds that a kernel outlives the last process that is connected to it
    shared_filesystem: bool | None = None  # None: find out
    host_python: str = ""  # the interpreter of the `host` preset
    host_prefixes: tuple[str, ...] = ()  # its sys.prefix, base_prefix, exec_prefix
    own_prefixes: tuple[str, ...] = ()  # those of the Python that runs Jupyter and this command line


def _short(reference: str) -> str:
    """An image's name as people know it: `docker.io/library/python:3.12` is `python:3.12`."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def environment_id(owner: str, workspace: str, preset: str, name: str = "") -> str:
    """The deterministic id `<preset>-<10 hex digits>`; the same four inputs always name the same environment."""
    digest = hashlib.sha256("\0".join((owner, workspace, preset, name)).encode()).hexdigest()
    return f"{preset}-{digest[:10]}"


def inside(run_dir: str) -> str:
    """The part of a run directory that is mounted in the environment; all else in it stays on the host."""
    return f"{run_dir}/{INSIDE}"


def container_name(environment: str) -> str:
    """The engine-side name; its uniqueness is what makes two simultaneous starts end in one environment."""
    return f"mlenv-{environment}"


def to_plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as JSON-serializable values; `bytes` are refused (TypeError)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")
