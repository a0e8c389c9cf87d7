"""A person's own Dockerfile as a build, and what its image depends on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import treewalk
from ..container_layout import LABEL
from ..engines.model import BuildRecipe
from .dockerfile import FORMAT, count_steps, digest
from .dockerignore import Ignore, lines_of
from .ignore_pattern import BadPattern, part

NOT_CONTENT = ("**/.git", "**/__pycache__", "**/.ipynb_checkpoints", "**/.venv")
"""Beside what `.dockerignore` names: changes of it make no image outdated."""

LINK_ROUNDS = 8
"""Times that a source of COPY may be a link to a link to a link …"""

Pause = Callable[[], None]


def recipe(
    preset: str,
    text: str,
    context: str,
    *,
    path: str = "",
    root: str = "/",
    target: str = "",
    args: Mapping[str, str] | None = None,
    proxies: Mapping[str, str] | None = None,
    pause: Pause = lambda: None,
) -> BuildRecipe:
    """The build of a person's own Dockerfile; nothing of ours is added to its context, which it may copy whole.

    `path` is that of the Dockerfile, beside which its own `.dockerignore` may lie. `proxies` become the builder's
    predefined proxy arguments, which are in no history and no cache key. `root` is the folder that no link in the path
    of `context` may leave. `pause` is called now and then and may raise to end it.
    """
    args = dict(args or {})
    ignore_file = ignore_file_of(root, context, path)
    files = context_digest(text, context, ignore_file=ignore_file, root=root, pause=pause)
    content = digest(json.dumps([FORMAT, text, target, args, files]))
    return BuildRecipe(
        tag=f"mlenv/{preset}:{content}",
        dockerfile=text,
        context=context,
        root=root,
        dockerfile_path=path,
        ignore_file=ignore_file,
        target=target,
        args={**(proxies or {}), **args},
        labels={f"{LABEL}.preset": preset},
        steps=count_steps(text),
    )


def ignore_file_of(root: str, context: str, dockerfile: str = "") -> str:
    """Return the file that says what is left out of a context: `<Dockerfile>.dockerignore` if it is there."""
    own = f"{dockerfile}.dockerignore"
    if dockerfile and treewalk.root_of(own, root) == root:
        with contextlib.suppress(OSError), treewalk.opened(root, os.path.dirname(own)) as folder:
            os.stat(os.path.basename(own), dir_fd=folder, follow_symlinks=False)
            return own
    return os.path.join(context, ".dockerignore")


def context_digest(
    text: str, context: str, *, ignore_file: str = "", root: str = "/", pause: Pause = lambda: None
) -> str:
    """A digest of the files that the Dockerfile copies, by name, size and time of change.

    Only what a `COPY` or `ADD` names counts, and nothing of `.git`, caches or what `.dockerignore` leaves out: results
    that the person's code writes beside the Dockerfile must not make the image look outdated. What cannot be read
    counts as not there, and so does what lies outside of the context: the engine refuses it.
    """
    # Texts alone, which the garbage collector does not look at: a pass over 200,000 lists stops all threads for 50 ms.
    seen: dict[str, str] = {}
    with contextlib.suppress(OSError), treewalk.opened(root, context) as top:
        lines: list[str] = []
        with contextlib.suppress(OSError, UnicodeDecodeError, BadPattern):  # the build says what is wrong
            lines = lines_of(treewalk.read_text(root, ignore_file or os.path.join(context, ".dockerignore")))
        copied = _Copied(filter(None, map(_below, _copied(text))), Ignore([*NOT_CONTENT, *lines]))
        for _ in range(LINK_ROUNDS):
            linked: list[str] = []
            for entry in treewalk.walk(top, copied.choose, copied.start, pause=pause, strict=False):
                seen[entry.path] = f"{entry.status.st_size}, {entry.status.st_mtime_ns}"
                if entry.is_link:
                    linked += copied.targets(entry.path, os.readlink(entry.name, dir_fd=entry.folder))
            if not linked:
                break
            copied = _Copied(filter(None, map(_below, linked)), copied.ignore)
    return digest("[" + ", ".join(f"[{json.dumps(path)}, {seen[path]}]" for path in sorted(seen)) + "]")


class _Copied:
    """The files of a context that the sources of COPY mean. A folder's state: what ignores it, and if it is copied."""

    def __init__(self, sources: Iterable[str], ignore: Ignore) -> None:
        self.ignore = ignore
        self._sources = [source.split("/") if source != "." else [] for source in sources]
        self.start = (Ignore.NOTHING, [] in self._sources)

    def choose(self, path: str, is_folder: bool, above: tuple[int, bool]) -> tuple[bool, tuple[int, bool] | None]:
        names = path.split("/")
        copied = above[1]
        on_the_way = copied
        for source in () if copied else self._sources:
            if self._begins(source, names):
                on_the_way = True
                copied = copied or len(source) == len(names)
        if not on_the_way:
            return False, None
        ignored, mask = self.ignore.enter(names, above[0])
        if ignored and not (is_folder and self.ignore.may_hold_more(names)):
            return False, None
        return not is_folder, (mask, copied)

    def targets(self, path: str, target: str) -> list[str]:
        """A link that is a source of COPY, or on the way to one, is followed by the builder: what is meant then."""
        names = path.split("/")
        if os.path.isabs(target):
            return []
        there = re.sub(r"([*?\[\\])", r"\\\1", os.path.join(os.path.dirname(path), target))
        return ["/".join([there, *s[len(names) :]]) for s in self._sources if s and self._begins(s, names)]

    @staticmethod
    def _begins(source: Sequence[str], names: Sequence[str]) -> bool:
        return len(names) <= len(source) and all(_matcher(p)(name) for p, name in zip(source, names, strict=False))


_matcher = functools.lru_cache(maxsize=1024)(part)


def _below(source: str) -> str:
    """A source as a path in the context, `.` for all of it; empty if it leads out."""
    path = os.path.normpath(source.lstrip("/") or ".")
    return "" if path.split("/")[0] == ".." else path


def _copied(text: str) -> list[str]:
    """The sources of COPY and ADD instructions that come from the context."""
    sources: list[str] = []
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        match = re.match(r"\s*(?:COPY|ADD)\s+(.*)", line, re.IGNORECASE)
        if not match or "--from=" in match[1]:
            continue
        words = re.sub(r"--\S+\s+", "", match[1]).strip()
        if words.startswith("["):
            with contextlib.suppress(ValueError, RecursionError):
                sources += [str(word) for word in json.loads(words)[:-1]]
        else:
            sources += words.split()[:-1]
    return [source for source in sources if "://" not in source]
