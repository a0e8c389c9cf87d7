"""Checked and merged data of a preset -> Preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..engines import gpus
from ..engines.model import Mount, Resources
from ..sizes import parse_size
from .model import BuiltImage, DockerfileImage, Endpoint, HostImage, ImageSource, KernelOptions, Preset, PulledImage
from .rules import merge_tables


def build(data: Mapping[str, Any], file: str, directory: str, defaults: Mapping[str, Mapping[str, Any]]) -> Preset:
    """The preset of merged data. `defaults`: the endpoints that every preset has unless it says otherwise."""
    kernel: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.get("kernel", {}).items()}
    return Preset(
        name=data["name"],
        title=data.get("title", data["name"].replace("-", " ").capitalize()),
        image=_image(data["image"]),
        description=data.get("description", ""),
        icon=data.get("icon", ""),
        gpu=data.get("gpu", False),
        twin=data.get("twin", ""),
        order=data.get("order", 0),
        resources=_resources(data.get("resources", {})),
        mounts=tuple(
            Mount(mount["source"], mount.get("target", mount["source"]), mount.get("read_only", False))
            for mount in data.get("mounts", ())
        ),
        env=data.get("env", {}),
        endpoints=_endpoints(merge_tables(defaults, data.get("endpoints", {}))),
        kernel=KernelOptions(**kernel),
        network=data.get("network", ""),
        source=file,
        directory=directory,
    )


def _image(table: Mapping[str, Any]) -> ImageSource:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    for field, kind in _KINDS.items():
        if field in values:
            return kind(**values)
    return HostImage(**{key: value for key, value in values.items() if key != "host"})


_KINDS: Mapping[str, Callable[..., ImageSource]] = {
    "reference": PulledImage,
    "base": BuiltImage,
    "dockerfile": DockerfileImage,
}
"""By the field that only this kind has; the rules have seen to it that there is one of them, or `host`."""


def _resources(table: Mapping[str, Any]) -> Resources:
    values: dict[str, Any] = {
        key: parse_size(str(value)) if key in ("memory", "shm") else value for key, value in table.items()
    }
    if "gpus" in values:
        values["gpus"] = gpus.parse(values["gpus"])
    return Resources(**values)


def _endpoints(tables: Mapping[str, Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    return tuple(_endpoint(name, table) for name, table in tables.items() if table.get("enabled", True))


def _endpoint(name: str, table: Mapping[str, Any]) -> Endpoint:
    fields = {key: value for key, value in table.items() if key != "enabled"}
    fields["command"] = tuple(fields["command"])
    return Endpoint(**{"name": name, "title": name.replace("-", " ").capitalize(), **fields})
