"""Many layers at once, told as one progress that only goes forward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..model import Progress
from .connection import Connection

DOWNLOAD_SHARE = 0.7
"""Part of a layer's work that is its download; the rest is unpacking it. Registry on the same machine: about 0.3,
a hub at 20 MB/s: about 0.8. People wait on the latter."""

_NEWS = ("Pull complete", "Already exists", "Download complete")
_LAYER_STATES = ("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Extracting", *_NEWS)


@dataclass
class _Layer:
    size: int = 0  # compressed bytes, 0 until its download starts
    downloaded: float = 0.0  # 0 to 1
    extracted: float = 0.0
    existed: bool = False

    @property
    def done(self) -> float:
        return DOWNLOAD_SHARE * self.downloaded + (1 - DOWNLOAD_SHARE) * self.extracted


class PullProgress:
    """Feed it the messages of `POST /images/create`.

    The engine tells a layer's size only when its download starts (three at a time), so the others count as large as
    the mean of the known ones. That estimate may shrink or grow the total; the share that is done never goes back.
    """

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._best = 0.0

    def feed(self, message: Mapping[str, Any]) -> str:
        """Take one message; returns a line for the log, or nothing where it would only repeat itself."""
        status, id = str(message.get("status", "")), str(message.get("id", ""))
        if status not in _LAYER_STATES:
            return f"{id}: {status}" if id and status else status
        layer = self._layers.setdefault(id, _Layer())
        detail = message.get("progressDetail") or {}
        current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
        if status == "Downloading":
            layer.size = max(layer.size, total)
            layer.downloaded = current / total if total else 0.0
        elif status in ("Verifying Checksum", "Download complete"):
            layer.downloaded = 1.0
        elif status == "Extracting":
            layer.size = layer.size or total
            layer.downloaded = 1.0
            layer.extracted = current / total if total else 0.0
        elif status in ("Pull complete", "Already exists"):
            layer.downloaded = layer.extracted = 1.0
            layer.existed = status == "Already exists"
        return f"{id}: {status}" if status in _NEWS else ""

    def now(self) -> Progress:
        """Bytes of compressed layers, where a byte counts fully once it is also unpacked."""
        layers = [layer for layer in self._layers.values() if not layer.existed]
        known = [layer.size for layer in layers if layer.size]
        message = self._message(layers)
        if not known:
            return Progress("pull", message, unit="bytes")
        mean = sum(known) / len(known)
        total = round(sum(layer.size or mean for layer in layers))
        done = round(sum((layer.size or mean) * layer.done for layer in layers))
        done = min(total, max(done, math.ceil(self._best * total)))
        self._best = done / total
        return Progress("pull", message, done, total, "bytes")

    def _message(self, layers: list[_Layer]) -> str:
        if not layers:
            return "Asking the registry"
        loading = sum(layer.downloaded >= 1 for layer in layers)
        if loading < len(layers):
            return f"Downloading {loading + 1} of {len(layers)} layers"
        unpacked = sum(layer.extracted >= 1 for layer in layers)
        if unpacked < len(layers):
            return f"Unpacking {unpacked + 1} of {len(layers)} layers"
        return f"{len(layers)} layers are there"


def read_pull(reference: str, connection: Connection) -> Iterator[dict[str, Any]]:
    """The engine's messages of a pull, with the credentials of the docker configuration."""
    from docker.auth import get_config_header, resolve_repository_name  # noqa: PLC0415 - there is a client
    from docker.utils import parse_repository_tag  # noqa: PLC0415

    repository, tag = parse_repository_tag(reference)
    registry, _ = resolve_repository_name(repository)
    login = get_config_header(connection.client, registry)
    params = {"fromImage": repository, "tag": tag or "latest"}
    messages = connection.messages(
        "POST", "/images/create", params=params, headers={"X-Registry-Auth": login} if login else {}
    )
    yield from filter(None, messages)
