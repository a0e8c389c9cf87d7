"""The container that this process itself runs in, where it is one of the engine's, as with a hub's DockerSpawner.

Paths mean something else to the engine then: it is told where its own host has what is mounted here. Files are the same
ones, by device and inode, so everything that is checked about them holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import EngineElsewhere
from ...mounts import inside
from ..model import ContainerSpec, Mount

MOUNTINFO = "/proc/self/mountinfo"

_OWN = re.compile(
    r"/(?:overlay-)?containers/([0-9a-f]{64})/(?:userdata/)?(hostname|hosts|resolv\.conf) /etc/\2\s",
)
"""A file that an engine mounts into each container at the same name, from a folder with the container's id in its name.

The place counts: an engine that copies files into a container (Docker 20.10) mounts its files for that moment on its
own host too, below its data directory.
"""


@dataclass(frozen=True)
class OwnContainer:
    """`mounts`: what is mounted in it, from the engine's host."""

    id: str
    mounts: tuple[Mount, ...]

    def translated(self, spec: ContainerSpec) -> ContainerSpec:
        """The container to create, with sources as the engine's host has them. Raises EngineElsewhere."""
        return replace(spec, mounts=tuple(replace(mount, source=self.on_host(mount.source)) for mount in spec.mounts))

    def on_host(self, path: str) -> str:
        """A path of this container's as the engine's host has it. Raises EngineElsewhere if it has none."""
        around = [mount for mount in self.mounts if inside(path, mount.target)]
        if not around:
            shared = ", ".join(sorted(mount.target for mount in self.mounts)) or "nothing"
            raise EngineElsewhere(
                f"{path} lies in the container that this Jupyter itself runs in, so no other container can have it.",
                hint="Projects have to lie in a volume or folder of the host that is mounted into Jupyter's container, "
                f"and so does the run directory (--MlenvConfig.run_root=DIR). Mounted are: {shared}.",
                details={"source": path, "container": self.id},
            )
        nearest = max(around, key=lambda mount: len(mount.target))
        return nearest.source.rstrip("/") + path[len(nearest.target.rstrip("/")) :]


def id_in(mountinfo: str) -> str:
    """The id of the container whose mounts these are; empty for no container (proc_pid_mountinfo(5))."""
    found = _OWN.search(mountinfo)
    return found[1] if found else ""


def of_this_process() -> str:
    """The id of the container that this process runs in, as far as an engine's mounts tell; else empty."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="replace") as file:
            return id_in(file.read())
    except OSError:
        return ""


def from_inspect(raw: Mapping[str, Any]) -> OwnContainer:
    """The answer of `GET /containers/{id}/json`."""
    listed: Sequence[Mapping[str, Any]] = raw.get("Mounts") or ()
    mounts = [Mount(str(m.get("Source", "")), str(m.get("Destination", "")), not m.get("RW", True)) for m in listed]
    return OwnContainer(
        str(raw["Id"]), tuple(m for m in mounts if m.source.startswith("/") and m.target.startswith("/"))
    )
