"""Settings as plain data: the core sees only this, the configuration makes it from traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .engines.model import Resources


@dataclass(frozen=True)
class Settings:
    """Every setting, as plain data."""

    owner: str
    uid: int
    gid: int
    username: str
    run_root: str
    home: str = ""  # the person's home directory on this machine, links resolved
    groups: tuple[tuple[int, str], ...] = ()  # the other groups that the person is in: number and name
    umask: int = 0o022
    timezone: str = ""  # a name such as Europe/Paris, or a rule of POSIX; empty: not known
    git_identity: bool = True  # whether git inside knows the person's name and e-mail
    pass_env: tuple[str, ...] = ()  # patterns of the caller's variables that kernels and shells get
    shared_folders: tuple[str, ...] = ()  # folders below the home directory that all environments share with it
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
    own_gpus: tuple[str, ...] | None = None  # ids of the GPUs that this process was given; None: all
    allowed_images: tuple[str, ...] = ()  # patterns; none: every image
    project_presets: bool = True  # whether a workspace's mlenv.toml is offered
    start_timeout: float = 60.0  # seconds from container start to agent ready
    kernel_grace: float = 60.0  # seconds that a kernel outlives the last process that is connected to it
    shared_filesystem: bool | None = None  # None: find out
    host_python: str = ""  # the interpreter of the `host` preset
    host_prefixes: tuple[str, ...] = ()  # its sys.prefix, base_prefix, exec_prefix
    own_prefixes: tuple[str, ...] = ()  # those of the Python that runs Jupyter and this command line
