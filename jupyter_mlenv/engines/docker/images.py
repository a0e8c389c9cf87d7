"""Images in our words, and labels in the Dockerfile's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import timestamps
from ..base import ImageInfo


def from_inspect(raw: Mapping[str, Any]) -> ImageInfo:
    """The answer of `GET /images/{name}/json`."""
    config = raw.get("Config") or {}
    return ImageInfo(
        id=raw["Id"],
        tags=tuple(raw.get("RepoTags") or ()),
        size=raw.get("Size", 0),
        created=timestamps.parse(raw.get("Created")),
        labels=config.get("Labels") or {},
        env=tuple(config.get("Env") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
    )


def from_list(raw: Mapping[str, Any]) -> ImageInfo:
    """One element of `GET /images/json`, which has neither environment nor entrypoint."""
    return ImageInfo(
        id=raw["Id"],
        tags=tuple(tag for tag in raw.get("RepoTags") or () if tag != "<none>:<none>"),
        size=raw.get("Size", 0),
        created=timestamps.from_epoch(raw.get("Created")),
        labels=raw.get("Labels") or {},
    )


def label_changes(labels: Mapping[str, str]) -> list[str]:
    """`changes=` of an import: one LABEL instruction each."""
    return [f"LABEL {_quoted(name)}={_quoted(value)}" for name, value in labels.items()]


def _quoted(text: str) -> str:
    for special in ("\\", '"', "$"):
        text = text.replace(special, "\\" + special)
    return f'"{text}"'
