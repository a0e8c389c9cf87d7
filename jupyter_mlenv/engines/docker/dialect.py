"""The ways of an engine with Docker's API that are its own; here those of Docker itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import EngineUnsupported
from ..base import ContainerInfo, EngineFacts
from .disk import MAKE_ROOM
from .images import label_changes

PODMAN = "Libpod"
"""The product that Podman says it is, in the header `Server`."""


class Dialect:
    """Docker's own ways. Another engine's adapter overrides what differs."""

    kind = "docker"
    make_room = MAKE_ROOM
    statuses: Mapping[str, str] = {}
    """Words for a container's status that Docker has other words for."""

    actions: Mapping[str, str] = {}
    """The same of events."""

    def check(self, product: str, version: str, url: str) -> None:
        """Check who answers. Raises EngineUnsupported for an engine that needs another adapter."""
        if product == PODMAN:
            raise EngineUnsupported(
                f"The engine at {url} is Podman, which answers in Docker's words and does some things another way.",
                hint='Set MlenvConfig.engine_kind = "podman".',
            )

    def facts(self, facts: EngineFacts, info: Mapping[str, Any]) -> EngineFacts:
        """The facts with what the answer of `GET /info` tells otherwise, or not at all."""
        return facts

    def body(self, body: dict[str, Any], *, rootless: bool) -> dict[str, Any]:
        """The body of `POST /containers/create`. Raises EngineError for what cannot be had."""
        return body

    def label_changes(self, labels: Mapping[str, str]) -> list[str]:
        """The instructions that give an imported image its labels."""
        return label_changes(labels)

    def said(self, info: ContainerInfo) -> ContainerInfo:
        """The container in our words."""
        return replace(info, status=self.statuses.get(info.status, info.status))

    def event(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """An event in Docker's words."""
        action = self.actions.get(str(raw.get("Action")))
        return {**raw, "Action": action} if action else raw


def is_podman(version: Mapping[str, Any]) -> bool:
    """Return whether an answer of `GET /version` is Podman's."""
    parts = version.get("Components") or ()
    return any(isinstance(part, dict) and part.get("Name") == "Podman Engine" for part in parts)
