"""Podman's ways, by its service with Docker's API (https://docs.podman.io/en/latest/_static/api.html), from 5.0 on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import EngineUnsupported, GpuUnavailable
from ..base import EngineFacts
from ..docker.dialect import PODMAN, Dialect


class Podman(Dialect):
    """A rootless one keeps the person's user id in containers (`keep-id`), so their files are theirs as with Docker."""

    kind = "podman"
    make_room = (
        "`podman system df` shows what takes space. `podman image prune` removes images without a name; it leaves "
        "environments as they are."
    )
    statuses = {  # noqa: RUF012 - a constant
        "configured": "created",
        "initialized": "created",
        "stopping": "running",
        "stopped": "exited",
    }
    actions = {"remove": "destroy", "died": "die"}  # noqa: RUF012 - a constant

    def check(self, product: str, version: str, url: str) -> None:
        if product != PODMAN:
            raise EngineUnsupported(
                f"The engine at {url} is no Podman.", hint='Leave out MlenvConfig.engine_kind = "podman".'
            )
        if version.partition(".")[0] in ("3", "4"):
            raise EngineUnsupported(
                f"The engine at {url} is Podman {version}, which imports images without their names.",
                hint="Use Podman 5 or newer, or Docker.",
            )

    def facts(self, facts: EngineFacts, info: Mapping[str, Any]) -> EngineFacts:
        # It says that it can limit, and logs that it does not.
        limits = ("memory", "cpus", "pids") if facts.rootless and info.get("CgroupVersion") != "2" else facts.ignored
        # Its builder knows nothing of BuildKit's sessions and messages; the classic way works.
        return replace(facts, buildkit=False, keeps_users=True, ignored=limits)

    def label_changes(self, labels: Mapping[str, str]) -> list[str]:
        # It takes the rest of the line as it stands, quotes and backslashes too.
        return [f"LABEL {name}={value}" for name, value in labels.items()]

    def body(self, body: dict[str, Any], *, rootless: bool) -> dict[str, Any]:
        host = dict(body["HostConfig"])
        if host.get("DeviceRequests"):  # it would leave them out without a word
            raise GpuUnavailable(
                "GPUs are not given to environments on Podman yet.", hint="Use Docker for presets with a GPU."
            )
        # A tmpfs of its begins as a copy of what it is to hide.
        hidden = [mount["Target"] for mount in host["Mounts"] if mount["Type"] == "tmpfs"]
        host["Mounts"] = [mount for mount in host["Mounts"] if mount["Type"] != "tmpfs"]
        host["Tmpfs"] = dict.fromkeys(hidden, "ro,size=4096,mode=755,notmpcopyup")
        if masked := host.pop("MaskedPaths", None):
            host["SecurityOpt"] = [*host["SecurityOpt"], f"mask={':'.join(masked)}"]
        if rootless:
            host["UsernsMode"] = "keep-id"
            host.pop("GroupAdd", None)  # the person's other groups do not exist in its user namespace
        return {**body, "HostConfig": host}
