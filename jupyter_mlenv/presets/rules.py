"""Rules about a preset beyond its schema, and how one extends another."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from .. import mounts as targets
from .document import Document

_KINDS = ("host", "reference", "base", "dockerfile")
_LENT = ("description", "icon", "gpu", "resources", "mounts", "network")
_LENT_IMAGE = (*_KINDS, "context", "target", "apt", "pip", "python", "add_jupyter")
_LENT_KERNEL = ("spec", "preload", "isolate", "fork")
_OWN = ("schema", "name", "title", "twin", "order", "extends")  # not inherited


def absolute(document: Document, directory: str) -> dict[str, Any]:
    """The data with paths that start at `directory`, or at the home directory for `~`."""
    data = dict(document.data)

    def resolved(path: str) -> str:
        path = os.path.expanduser(path)
        return os.path.normpath(os.path.join(directory, path)) if directory else path

    if image := data.get("image"):
        data["image"] = {
            key: resolved(value) if key in ("dockerfile", "context", "requirements") else value
            for key, value in image.items()
        }
    if mounts := data.get("mounts"):
        data["mounts"] = [{**mount, "source": resolved(mount["source"])} for mount in mounts]
    return data


def check(
    document: Document,
    data: Mapping[str, Any],
    base: Mapping[str, Any],
    confined: str,
    defaults: Mapping[str, Any],
) -> None:
    """Check what the schema cannot say. Raises PresetInvalid."""
    image: Mapping[str, Any] = data.get("image", {})
    kinds = [kind for kind in _KINDS if kind in image]
    if len(kinds) > 1:
        raise document.fail(("image", kinds[1]), f"cannot be set together with `{kinds[0]}`", allowed=list(_KINDS))
    if not kinds and not _kind(base):
        raise document.fail(
            ("image",),
            "must say where the image comes from",
            allowed=list(_KINDS),
            hint=f"Set one of {', '.join(_KINDS)}.",
        )
    kind = kinds[0] if kinds else _kind(base)
    if kind != "base":
        for key in ("apt", "pip", "pip_index", "requirements"):
            if key in image:
                raise document.fail(
                    ("image", key), f"works only with `base`, not with `{kind}`", hint="Use `base` to install packages."
                )
    if kind in ("host", "dockerfile") and image.get("add_jupyter"):
        raise document.fail(
            ("image", "add_jupyter"),
            f"does not work with `{kind}`",
            hint="Install jupyterlab and ipykernel in the Dockerfile itself." if kind == "dockerfile" else "",
        )
    for i, mount in enumerate(data.get("mounts", ())):
        target = mount.get("target", mount["source"])
        if reason := targets.refusal(target):
            raise document.fail(("mounts", i), f"cannot be mounted at {targets.normal(target)}: {reason}")
    _check_endpoints(document, data, base, defaults)
    if {"spec", "argv"} <= data.get("kernel", {}).keys():
        raise document.fail(("kernel", "argv"), "does not work with `spec`, which names a kernelspec that has its own")
    if confined:
        _check_confined(document, data, base, confined)


def _check_endpoints(
    document: Document, data: Mapping[str, Any], base: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    for name, endpoint in data.get("endpoints", {}).items():
        known = name in defaults or name in base.get("endpoints", {})
        if not known and endpoint.get("enabled", True) and "command" not in endpoint:
            raise document.fail(("endpoints", name, "command"), "is missing")
        for key in ("open", "ready"):
            if _leads_out(endpoint.get(key, "")):
                raise document.fail(
                    ("endpoints", name, key),
                    "must be a path below the endpoint",
                    allowed="a path without a leading /, //, .., a backslash or a scheme",
                    hint='Write for example "ui/start?tab=1".',
                )


def _check_confined(document: Document, data: Mapping[str, Any], base: Mapping[str, Any], workspace: str) -> None:
    why = "a workspace's mlenv.toml may have come with a cloned repository, so it"
    hint = "Put the preset into a folder of your own: `jupyter mlenv presets` shows where presets are looked for."
    if data.get("network"):
        raise document.fail(("network",), f"is not allowed here: {why} joins no network", hint=hint)
    if base.get("network") or base.get("mounts"):
        what = f'"{data["extends"]}" mounts folders or joins a network'
        raise document.fail(("extends",), f"is not allowed here: {what}, and {why} cannot use that", hint=hint)
    if data.get("mounts"):
        # Whatever lies in the workspace, code in a container can swap for a link to something else.
        raise document.fail(
            ("mounts", 0, "source"),
            f"is not allowed here: {why} mounts nothing; the whole project is mounted already",
            hint=hint,
        )
    image = data.get("image", {})
    paths = [(("image", key), image[key]) for key in ("dockerfile", "context", "requirements") if key in image]
    root = os.path.realpath(workspace)
    for path, value in paths:
        real = os.path.realpath(value)
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            raise document.fail(path, f"leads to {real}, outside of the workspace: {why} stays inside", hint=hint)


def _leads_out(path: str) -> bool:
    """Return whether a browser could be led out of the endpoint, also by what is percent-encoded."""
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    for _ in range(4):
        parts = [part.partition(";")[0].strip() for part in path.split("/")]
        if path[:1] in ("/", " ") or "//" in path or "\\" in path or "." in parts or ".." in parts:
            return True
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded
    return True


def lent(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part that a project may build on, of a preset that is the person's or the administrator's: what holds
    no secrets.

    Variables, build arguments, indexes, requirements files, commands and endpoints stay behind. Mounts and networks are
    kept for `check`, which refuses them.
    """
    data = {key: base[key] for key in _LENT if key in base}
    if image := base.get("image"):
        data["image"] = {key: value for key, value in image.items() if key in _LENT_IMAGE}
        if "pip" in image:
            data["image"]["pip"] = [spec for spec in image["pip"] if not re.search(r"://[^/]*@", spec)]
    kernel = base.get("kernel", {})
    names = _LENT_KERNEL if "argv" in kernel else (*_LENT_KERNEL, "display_name", "language", "interrupt_mode")
    data["kernel"] = {key: kernel[key] for key in names if key in kernel}
    endpoints = base.get("endpoints", {})
    data["endpoints"] = {
        name: {"enabled": False} for name, table in endpoints.items() if not table.get("enabled", True)
    }
    return data


def _kind(data: Mapping[str, Any]) -> str:
    return next((kind for kind in _KINDS if kind in data.get("image", {})), "")


def merge(base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` on top of `base`: tables merged, lists of packages, mounts and modules appended."""
    inherited = {key: value for key, value in base.items() if key not in _OWN}
    kind = _kind(data)
    if kind and kind != _kind(base):
        inherited.pop("image", None)  # another way to an image: nothing of the old way fits
    elif kind and kind in ("dockerfile", "reference"):
        inherited["image"] = {"python": base["image"]["python"]} if "python" in base.get("image", {}) else {}
    merged: dict[str, Any] = merge_tables(inherited, data)
    return merged


def merge_tables(base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Tables inside tables too; packages, mounts and modules are appended, anything else replaced."""
    merged = dict(base)
    for name, value in data.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = merge_tables(old, value)
        elif isinstance(old, list) and isinstance(value, list) and name in ("apt", "pip", "mounts", "preload"):
            merged[name] = [*old, *(item for item in value if item not in old)]
        else:
            merged[name] = value
    return merged
