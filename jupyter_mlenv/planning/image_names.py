"""Image names and what sites use instead of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def apply_alias(reference: str, aliases: Mapping[str, str]) -> str:
    """The image to use instead of `reference`: the longest alias that matches, else the reference itself.

    An alias is an image name with its tag, one without (the tag is kept unless the replacement has its own), or a
    registry or namespace (`docker.io`, `docker.io/library`, `quay.io/jupyter`), of which the rest of the name is kept.
    `python:3.12`, `library/python:3.12` and `docker.io/library/python:3.12` are the same.
    """
    wanted = normalize(reference)
    name, tag = _split_tag(wanted)
    best, result = -1, reference
    for alias, replacement in aliases.items():
        for key in _forms(alias):
            target = replacement.rstrip("/")
            if key == wanted:
                found = target
            elif key == name:
                found = target if _split_tag(target)[1] else target + tag
            elif name.startswith(key + "/"):
                found = target + wanted[len(key) :]
            else:
                continue
            if len(key) > best:
                best, result = len(key), found
    return result


def normalize(reference: str, tag: str = ":latest") -> str:
    """The full form of an image name: with registry, `library/`, and a tag or digest."""
    name, given = _split_tag(reference)
    first = name.split("/")[0]
    if "/" not in name or not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name if '/' in name else f'library/{name}'}"
    elif first in ("index.docker.io", "registry-1.docker.io"):
        name = "docker.io" + name[len(first) :]
    return name + (given or tag)


def _split_tag(reference: str) -> tuple[str, str]:
    """`name` and `:tag`, `@digest` or `:tag@digest`; a colon before a slash belongs to a port."""
    name, at, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, f":{tag}{at}{digest}"
    return name, f"{at}{digest}"


def _forms(alias: str) -> set[str]:
    """Yield what an alias may stand for: a registry or namespace as written, a namespace of Docker Hub, an image."""
    prefix = alias.rstrip("/").replace("index.docker.io", "docker.io")
    return {prefix, f"docker.io/{prefix}", normalize(prefix, tag="")}
