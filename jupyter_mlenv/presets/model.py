"""The nouns of presets. Frozen dataclasses, no I/O. See `docs/architecture.md` for the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..engines.model import Mount, Resources


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
class HostImage:
    """The source of the preset `host`: this machine's own Python, in an image that holds nothing."""

    python: str = "python3"

    @property
    def origin(self) -> str:
        return "this machine's Python"


@dataclass(frozen=True)
class PulledImage:
    """An image of a registry, with JupyterLab and ipykernel added to it where `add_jupyter` is set."""

    reference: str
    add_jupyter: bool = False
    python: str = "python3"

    @property
    def origin(self) -> str:
        return _short(self.reference) + (" + JupyterLab" if self.add_jupyter else "")


@dataclass(frozen=True)
class BuiltImage:
    """An image that a generated Dockerfile builds upon another one.

    Parameters
    ----------
    apt, pip
        Packages of Debian and of Python.
    pip_index
        The address of an extra index, e.g. the CPU wheels of PyTorch.
    requirements
        A requirements file; relative to the preset's directory.
    """

    base: str
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    pip_index: str = ""
    requirements: str = ""
    add_jupyter: bool = True
    python: str = "python3"

    @property
    def origin(self) -> str:
        return f"built on {_short(self.base)}"


@dataclass(frozen=True)
class DockerfileImage:
    """An image that a Dockerfile of the preset's own builds.

    `dockerfile` and `context` are absolute, or relative to the preset's directory; an empty context is the folder of
    the Dockerfile.
    """

    dockerfile: str
    context: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    python: str = "python3"

    @property
    def origin(self) -> str:
        return f"built from {self.dockerfile}"


ImageSource: TypeAlias = HostImage | PulledImage | BuiltImage | DockerfileImage
"""The source of a preset's image. `python` is the interpreter inside that runs agent, kernels and services;
`origin` says it in a few words for a person."""


@dataclass(frozen=True)
class KernelOptions:
    """Options of kernels of a preset, for the kernel provisioner.

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
    """The content that a person has to agree to before the preset of a project is used.

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
    order: int = 0  # where its tile stands, smaller numbers first
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

    @property
    def uses_host_python(self) -> bool:
        """True if this machine's own Python runs in there, so that there is no image to get."""
        return isinstance(self.image, HostImage)

    def to_json(self, ready: bool | None) -> dict[str, Any]:
        """The preset object of the REST API and of `--json`. `ready`: its image is on the engine; `None`: not known."""
        names = ("name", "title", "description", "icon", "gpu", "twin", "source")
        consent = self.consent.to_json() if self.consent else None
        more = {"image": self.image.origin, "ready": ready, "consent": consent}
        return {name: getattr(self, name) for name in names} | more


def _short(reference: str) -> str:
    """An image's name as people know it: `docker.io/library/python:3.12` is `python:3.12`."""
    return reference.removeprefix("docker.io/").removeprefix("library/")
