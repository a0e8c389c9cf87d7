"""Containers in the engine's words and in ours. Pure, apart from the tar readers and writers, which stay in memory.

Field names: Docker Engine API v1.41, https://docs.docker.com/reference/api/engine/version/v1.41/
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal, cast

from ...errors import EngineError
from ..base import ContainerInfo
from ..gpus import ALL, NONE, GpuRequest
from ..model import ContainerSpec, FileEntry, Resources

ROOT_DROPS = ("AUDIT_WRITE", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
"""Docker's default capabilities that a notebook never needs, even as root. Those for files and users stay."""

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


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
            *(_bind("/dev/null", file, True) for file in spec.empty_files),
        ],
        "PortBindings": {f"{port}/tcp": [{"HostIp": publish_host, "HostPort": ""}] for port in spec.publish},
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": list(ROOT_DROPS) if root else ["ALL"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "no"},
        "Privileged": False,
    }
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
    """One element of `GET /containers/json`."""
    names = entry.get("Names") or [""]
    return ContainerInfo(
        id=entry["Id"],
        name=names[0].lstrip("/"),
        status=cast(Status, entry.get("State", "created")),
        labels=entry.get("Labels") or {},
        image=entry.get("Image", ""),
        created=datetime.fromtimestamp(entry.get("Created", 0), timezone.utc).isoformat(),
        exit_code=int(exited[1]) if (exited := _EXITED.match(entry.get("Status") or "")) else None,
    )


def from_inspect(raw: Mapping[str, Any], warnings: Sequence[str] = ()) -> ContainerInfo:
    """The answer of `GET /containers/{id}/json`; `warnings` are those of its creation."""
    state, config, network = raw["State"], raw["Config"], raw.get("NetworkSettings") or {}
    running = state["Status"] in ("running", "paused", "restarting")
    finished = bool(timestamp(state.get("FinishedAt", ""))) and not running
    addresses = [network.get("IPAddress"), *(n.get("IPAddress") for n in (network.get("Networks") or {}).values())]
    return ContainerInfo(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        status=state["Status"],
        labels=config.get("Labels") or {},
        image=config.get("Image", ""),
        created=timestamp(raw.get("Created", "")),
        started=timestamp(state.get("StartedAt", "")),
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


def timestamp(text: str) -> str:
    """The engine's RFC 3339 time as ISO 8601 in UTC to the second; empty for its zero time `0001-01-01…`."""
    if not text or text.startswith("0001-"):
        return ""
    return f"{text[:19]}+00:00" if text.endswith("Z") else _to_utc(text)


def _to_utc(text: str) -> str:
    # Python 3.10 reads at most six decimals, the engine may write nine.
    moment = datetime.fromisoformat(text[:19] + text[-6:])
    return moment.astimezone(timezone.utc).isoformat()


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
