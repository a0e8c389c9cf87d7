"""A person's own Dockerfile as a build: what it depends on, and the doors on top."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .dockerfile import FORMAT, ImageRequest, count_steps, digest, kit, render
from .model import LABEL, BuildRecipe, FileEntry


def recipe(
    preset: str,
    text: str,
    context: str,
    *,
    target: str = "",
    args: Mapping[str, str] | None = None,
    proxies: Mapping[str, str] | None = None,
    doors_python: str = "",
    buildkit: bool = True,
) -> BuildRecipe:
    """The build of a person's own Dockerfile, with the doors on top if `doors_python` names an interpreter.

    `proxies` become the builder's predefined proxy arguments, which are in no history and no cache key.
    """
    args = dict(args or {})
    content = digest(json.dumps([FORMAT, text, target, args, doors_python, context_digest(text, context)]))
    files: tuple[FileEntry, ...] = ()
    if doors_python:
        text, target = _with_doors(text, target, doors_python, buildkit=buildkit)
        files = kit(ImageRequest(base=""))
    return BuildRecipe(
        tag=f"mlenv/{preset}:{content}",
        dockerfile=text,
        context=context,
        files=files,
        target=target,
        args={**(proxies or {}), **args},
        labels={f"{LABEL}.preset": preset},
        steps=count_steps(text),
    )


def context_digest(text: str, context: str) -> str:
    """A digest of the files that the Dockerfile copies, by name, size and time of change.

    Only what a `COPY` or `ADD` names counts, and nothing of `.git`, caches or a line of `.dockerignore`: results that
    the person's code writes beside the Dockerfile must not make the image look outdated.
    """
    patterns = [".git", "__pycache__", ".ipynb_checkpoints", ".venv"]
    with contextlib.suppress(OSError):
        lines = Path(context, ".dockerignore").read_text("utf-8").splitlines()
        patterns += [line.strip().strip("/") for line in lines if line.strip() and line.strip()[0] not in "#!"]
    seen: list[object] = []
    for source in _copied(text):
        for top in sorted(glob.glob(os.path.join(context, source.lstrip("/")))):
            seen += [list(item) for item in _stats(top, context, patterns)]
    return digest(json.dumps(seen))


def _copied(text: str) -> list[str]:
    """The sources of COPY and ADD instructions that come from the context."""
    sources: list[str] = []
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        match = re.match(r"\s*(?:COPY|ADD)\s+(.*)", line, re.IGNORECASE)
        if not match or "--from=" in match[1]:
            continue
        words = re.sub(r"--\S+\s+", "", match[1]).strip()
        if words.startswith("["):
            with contextlib.suppress(ValueError):
                sources += [str(word) for word in json.loads(words)[:-1]]
        else:
            sources += words.split()[:-1]
    return [source for source in sources if "://" not in source]


def _stats(top: str, context: str, patterns: Sequence[str]) -> Iterable[tuple[str, int, int]]:
    def ignored(path: str) -> bool:
        relative = os.path.relpath(path, context)
        names = {relative, *relative.split(os.sep)}
        return any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names for pattern in patterns)

    if os.path.isfile(top):
        yield os.path.relpath(top, context), os.path.getsize(top), os.stat(top).st_mtime_ns
        return
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not ignored(os.path.join(folder, name)))
        for path in sorted(os.path.join(folder, name) for name in names):
            if not ignored(path):
                status = os.lstat(path)
                yield os.path.relpath(path, context), status.st_size, status.st_mtime_ns


def _with_doors(text: str, target: str, python: str, *, buildkit: bool) -> tuple[str, str]:
    """The doors added to the last stage, or to `target` as a stage of its own; text and target."""
    lines = render(ImageRequest(base=target, python=python), (), buildkit=buildkit).splitlines()
    if target:
        lines[0] = f"FROM {target} AS mlenv-doors"
        return "\n".join([text.rstrip(), *lines]) + "\n", "mlenv-doors"
    return "\n".join([text.rstrip(), *lines[1:]]) + "\n", ""
