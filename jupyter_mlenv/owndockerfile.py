"""A person's own Dockerfile as a build, and what its image depends on."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .dockerfile import FORMAT, count_steps, digest
from .model import LABEL, BuildRecipe


def recipe(
    preset: str,
    text: str,
    context: str,
    *,
    target: str = "",
    args: Mapping[str, str] | None = None,
    proxies: Mapping[str, str] | None = None,
) -> BuildRecipe:
    """The build of a person's own Dockerfile; nothing of ours is added to its context, which it may copy whole.

    `proxies` become the builder's predefined proxy arguments, which are in no history and no cache key.
    """
    args = dict(args or {})
    content = digest(json.dumps([FORMAT, text, target, args, context_digest(text, context)]))
    return BuildRecipe(
        tag=f"mlenv/{preset}:{content}",
        dockerfile=text,
        context=context,
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
