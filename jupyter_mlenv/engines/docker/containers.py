"""Containers in the engine's words and in ours. Tar readers and writers stay in memory.

Field names: Docker Engine API v1.41, https://docs.docker.com/reference/api/engine/version/v1.41/
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ... import timestamps
from ...errors import EngineError
from ..base import ContainerInfo
from ..gpus import ALL, NONE, GpuRequest
from ..model import ContainerSpec, FileEntry, Resources

ROOT_DROPS = ("AUDIT_WRITE", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
"""Docker's default capabilities that a notebook never needs, even as root. Those for files and users stay."""


def create_body(spec: ContainerSpec, *, publish_host: str, swap_accounting: bool) -> dict[str, Any]:
    """The body of `POST /containers/create`.

    The image's entrypoint, health check and stop signal are not wanted: the command is our agent. Without swap
    accounting in the kernel the engine would only warn about `MemorySwap`, so it is left out there.
    """
    root = spec.user.partition(":")[0] in ("", "0", "root")
    limits = spec.resources
    host: dict[str, Any] = {
        "Init": True,
        "Mounts": [
            *(_bind(mount.source, mount.target, mount.read_only) for mount in spec.mounts),
            *(_EMPTY | {"Target": folder} for folder in spec.empty_folders),
        ],
        "PortBindings": {f"{port}/tcp": [{"HostIp": publish_host, "HostPort": ""}] for port in spec.publish},
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": list(ROOT_DROPS) if root else ["ALL"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "no"},
        "Privileged": False,
    }
    if spec.empty_files:
        # Not a mount of /dev/null: Docker 26 opens a target for writing whenever files are put in, and these lie
        # below mounts that are read-only.
        host["MaskedPaths"] = [*DEFAULT_MASKED_PATHS, *spec.empty_files]
    if spec.groups:
        host["GroupAdd"] = [str(group) for group in spec.groups]
    if spec.network:
        host["NetworkMode"] = spec.network
    if limits.memory:
        host["Memory"] = limits.memory
        if swap_accounting:
            host["MemorySwap"] = limits.memory
    if limits.cpus:
        host["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.pids:
        host["PidsLimit"] = limits.pids
    if limits.shm:
        host["ShmSize"] = limits.shm
    if limits.gpus:
        host["DeviceRequests"] = [device_request(limits.gpus)]
    body: dict[str, Any] = {
        "Image": spec.image,
        "Entrypoint": [],
        "Cmd": list(spec.command),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopTimeout": spec.stop_timeout,
        "ExposedPorts": {f"{port}/tcp": {} for port in spec.publish},
        "HostConfig": host,
    }
    for key, value in (("User", spec.user), ("WorkingDir", spec.workdir), ("Hostname", spec.hostname)):
        if value:
            body[key] = value
    return body


DEFAULT_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Paths that the engine itself masks, since a list of ours replaces its own (moby 28, `oci/defaults.go`)."""

_EMPTY = {"Type": "tmpfs", "ReadOnly": True, "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o755}}


def _bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def device_request(gpus: GpuRequest) -> dict[str, Any]:
    """A `DeviceRequest` of the engine's API, as `docker run --gpus` makes it."""
    devices = {"DeviceIDs": list(gpus.devices)} if gpus.devices else {}
    return {"Driver": "", "Capabilities": [["gpu"]], "Options": {}, "Count": gpus.count, **devices}


_EXITED = re.compile(r"Exited \((\d{1,3})\)")
"""The exit code in the text of a list, the same since Docker 1.0."""


def from_list(entry: Mapping[str, Any]) -> ContainerInfo:
    """One element of `GET /containers/json`. Raises EngineError for one in no known form."""
    with _known_form():
        return _listed(entry)


def from_inspect(raw: Mapping[str, Any], warnings: Sequence[str] = ()) -> ContainerInfo:
    """The answer of `GET /containers/{id}/json`; `warnings` are those of its creation. Raises EngineError likewise."""
    with _known_form():
        return _inspected(raw, warnings)


@contextmanager
def _known_form() -> Iterator[None]:
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise EngineError(
            f"The engine describes a container in a form that is not known: {error!r}.",
            hint="See which engine this is: jupyter mlenv version",
        ) from error


def _listed(entry: Mapping[str, Any]) -> ContainerInfo:
    names = entry.get("Names") or [""]
    return ContainerInfo(
        id=entry["Id"],
        name=names[0].lstrip("/"),
        status=str(entry.get("State") or "created"),
        labels=entry.get("Labels") or {},
        image=entry.get("Image", ""),
        created=timestamps.from_epoch(entry.get("Created")),
        exit_code=int(exited[1]) if (exited := _EXITED.match(entry.get("Status") or "")) else None,
    )


def _inspected(raw: Mapping[str, Any], warnings: Sequence[str]) -> ContainerInfo:
    state, config, network = raw["State"], raw["Config"], raw.get("NetworkSettings") or {}
    running = state["Status"] in ("running", "paused", "restarting")
    finished = timestamps.parse(state.get("FinishedAt")) is not None and not running
    addresses = [network.get("IPAddress"), *(n.get("IPAddress") for n in (network.get("Networks") or {}).values())]
    created = timestamps.parse(raw.get("Created"))
    return ContainerInfo(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        status=str(state["Status"]),
        labels=config.get("Labels") or {},
        image=config.get("Image", ""),
        created=created and created.replace(microsecond=0),  # as in a list
        started=timestamps.parse(state.get("StartedAt")),
        exit_code=state.get("ExitCode") if finished else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error", ""),
        address=next((address for address in addresses if address), ""),
        ports={
            int(port.partition("/")[0]): int(bindings[0]["HostPort"])
            for port, bindings in (network.get("Ports") or {}).items()
            if port.endswith("/tcp") and bindings
        },
        applied=applied_resources(raw.get("HostConfig") or {}),
        warnings=tuple(warnings),
    )


def applied_resources(host: Mapping[str, Any]) -> Resources:
    """Return the limits that the engine applies; one that it dropped is `None`."""
    gpus = NONE
    for request in host.get("DeviceRequests") or []:
        if any("gpu" in group for group in request.get("Capabilities") or []):
            devices = tuple(request.get("DeviceIDs") or ())
            gpus = GpuRequest(0 if devices else max(request.get("Count", 0), ALL), devices)
    return Resources(
        memory=host.get("Memory") or None,
        cpus=(host.get("NanoCpus") or 0) / 1e9 or None,
        pids=host.get("PidsLimit") or None,
        shm=host.get("ShmSize") or None,
        gpus=gpus,
    )


def without(info: ContainerInfo, ignored: Sequence[str]) -> ContainerInfo:
    """The container less the limits that its engine repeats and does not apply."""
    if info.applied is None or not ignored:
        return info
    nothing: dict[str, Any] = dict.fromkeys(ignored)
    return replace(info, applied=replace(info.applied, **nothing))


def label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """`filters=` of a list call; an empty value matches any value."""
    return {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}


def pack(files: Sequence[FileEntry]) -> bytes:
    """A tar of these files and directories, relative to `/`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in files:
            tar.addfile(tar_info(entry), io.BytesIO(entry.data or b""))
    return buffer.getvalue()


def tar_info(entry: FileEntry) -> tarfile.TarInfo:
    """The tar header of an entry."""
    info = tarfile.TarInfo(entry.path.strip("/"))
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, int(time.time())
    if entry.data is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(entry.data)
    return info


def unpack_one(data: bytes, container: str, path: str) -> bytes:
    """The content of the one file in a tar from `GET /containers/{id}/archive`. Raises EngineError."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member is not None and member.isfile() else None
        if content is None:
            raise EngineError(
                f"{path} in container {container} is not a file.", details={"container": container, "path": path}
            )
        return content.read()
