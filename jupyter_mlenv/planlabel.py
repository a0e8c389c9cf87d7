"""A plan as a container's label and back: what makes the engine the only database. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .model import ContainerSpec, Endpoint, ImagePlan, KernelOptions, Mount, Plan, Resources, to_plain


def to_label(plan: Plan) -> str:
    """The plan as one line of JSON, without the build recipe, files' contents, labels and variables.

    The engine shows labels to everybody who may use it, also in its events; a variable may hold a secret.
    """
    data = to_plain(
        dataclasses.replace(
            plan,
            files=(),
            image=dataclasses.replace(plan.image, recipe=None),
            container=dataclasses.replace(plan.container, labels={}, env={}, empty_folders=(), empty_files=()),
            endpoints=tuple(dataclasses.replace(endpoint, env={}) for endpoint in plan.endpoints),
        )
    )
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def from_label(text: str) -> Plan:
    """The plan that a label holds; keys that another version wrote are ignored, missing ones have their defaults."""
    try:
        data = json.loads(text)
    except ValueError:
        data = {}
    data = data if isinstance(data, dict) else {}
    image = _known(ImagePlan, data.get("image"))
    spec = _known(ContainerSpec, data.get("container"))
    endpoints = [_known(Endpoint, item) for item in data.get("endpoints") or ()]
    fields = _known(Plan, data)
    empty = dict.fromkeys(("id", "preset", "title", "owner", "workspace", "name"), "")
    return Plan(
        **{
            **empty,
            **fields,
            "image": ImagePlan(**{"kind": "pull", "reference": "", **image, "recipe": None}),
            "container": ContainerSpec(
                **{
                    "name": "",
                    "image": "",
                    **spec,
                    "command": tuple(spec.get("command", ())),
                    "publish": tuple(spec.get("publish", ())),
                    "empty_folders": (),
                    "empty_files": (),
                    "mounts": tuple(Mount(**_known(Mount, mount)) for mount in spec.get("mounts", ())),
                    "resources": Resources(**_known(Resources, spec.get("resources"))),
                }
            ),
            "endpoints": tuple(
                Endpoint(**{"title": item["name"], **item, "command": tuple(item.get("command", ()))})
                for item in endpoints
                if "name" in item
            ),
            "kernel": _kernel(_known(KernelOptions, data.get("kernel"))),
            "files": (),
        }
    )


def _known(kind: type, value: object) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    return {key: item for key, item in value.items() if key in names} if isinstance(value, dict) else {}


def _kernel(data: dict[str, Any]) -> KernelOptions:
    lists = {name: tuple(data.get(name, ())) for name in ("preload", "argv")}
    return KernelOptions(**{**data, **lists})
