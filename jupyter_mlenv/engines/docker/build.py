"""Builds over the engine's API, without the docker command line and without a BuildKit session."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import BuildFailed, EngineError
from ..model import BuildRecipe, Progress
from .buildkit import BuildKitProgress
from .classic import ClassicProgress
from .connection import Connection
from .context import write_context
from .disk import disk_full
from .errors import engine_trouble, from_message

Builder = BuildKitProgress | ClassicProgress

PROGRESS_INTERVAL_SECONDS = 0.05
"""Seconds between two looks at how far a build is, while it prints."""

_BASE = re.compile(
    r"(?:load metadata for|FROM|docker-image://)\s*(?P<image>[^\s@]+(?:@sha256:[0-9a-f]+)?)", re.IGNORECASE
)


_ENGINE = re.compile(
    r"network \S+ not found|failed to (create endpoint|set up container networking)|runc (run|create) failed"
    r"|failed to mount|cannot allocate memory|input/output error|read-only file system",
    re.IGNORECASE,
)
"""The engine's own trouble, in its words, whatever the step was to do."""

KILLED_CODE = "137"
"""The exit code of a command that was killed: 128 + SIGKILL."""

_FROM = re.compile(
    r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(?P<image>\S+)(?:[ \t]+AS[ \t]+(?P<stage>\S+))?[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_ARG = re.compile(r"^[ \t]*ARG[ \t]+(?P<name>\w+)=(?P<value>\S*)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def base_images(dockerfile: str, arguments: Mapping[str, str]) -> list[str]:
    """The images that a Dockerfile starts from, without stages of its own and `scratch`.

    Build arguments are filled in where they are written `$NAME` or `${NAME}`; a reference that is still unresolved
    then is left out.
    """
    values = {match["name"]: match["value"].strip("\"'") for match in _ARG.finditer(dockerfile)} | dict(arguments)
    stages = {"scratch"}
    found: list[str] = []
    for match in _FROM.finditer(dockerfile):
        image = re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], m[0]), match["image"])
        if "$" not in image and image.lower() not in stages and image not in found:
            found.append(image)
        if match["stage"]:
            stages.add(match["stage"].lower())
    return found


def build_params(recipe: BuildRecipe, build_id: str, dockerfile: str) -> dict[str, Any]:
    """The query of `POST /build`; an empty `build_id` chooses the classic builder.

    `forcerm` matters for that one: `rm` alone leaves a failed step's container behind.
    """
    params: dict[str, Any] = {
        "t": recipe.tag,
        "dockerfile": dockerfile,
        "rm": True,
        "forcerm": True,
        "buildargs": dict(recipe.args),
        "labels": dict(recipe.labels),
        "version": "2" if build_id else "1",
    }
    if build_id:
        params["buildid"] = build_id
    if recipe.target:
        params["target"] = recipe.target
    return params


def read_build(
    recipe: BuildRecipe, build_id: str, progress: Builder, connection: Connection
) -> Iterator[str | Progress]:
    """Send the context, yield lines for the log and, at each step and every `PROGRESS_INTERVAL_SECONDS`, the progress.

    Blocking, and all that is read of a message is read here: a build may print millions of lines. Cutting the
    connection ends it in any phase. Raises EngineError for what the build says went wrong.
    """
    context, dockerfile = write_context(recipe, lambda: connection.is_cut)
    told, step = 0.0, -1
    with context:
        for message in connection.post_build(build_params(recipe, build_id, dockerfile), context):
            if message is None:
                continue
            if "error" in message:
                raise build_error(progress, str(message["error"]))
            lines = progress.feed(message)
            yield from lines
            if progress.turns == step and time.monotonic() - told < PROGRESS_INTERVAL_SECONDS:
                continue
            told, step = time.monotonic(), progress.turns
            yield progress.now()
    yield progress.now()


def build_error(progress: Builder, text: str) -> EngineError:
    """Return the error of a failed build, from its last message and the step that it stopped at."""
    if isinstance(progress, BuildKitProgress):
        vertex = progress.failed
        step = " ".join(vertex.name.split()) if vertex else ""
        reason = vertex.error if vertex else text
        log = [*vertex.tail, *filter(None, [vertex.text.partial])] if vertex else []
    else:
        step, reason, log = progress.step, text, list(progress.tail)
    reason = " ".join(reason.split())
    if any("no space left on device" in line.lower() for line in (reason, *log)):
        return disk_full(reason, log)
    base = _BASE.search(step)
    if base:
        error = from_message(reason, image=base["image"])
        error.details["step"] = step
        return error
    if _ENGINE.search(reason):
        return engine_trouble(reason)
    code = re.search(r"(?:exit code:|non-zero code:|exit status) (\d+)\s*$", reason)
    why = f"a command ended with exit code {code.group(1)}" if code else reason
    if not step:
        return BuildFailed(
            f"The image cannot be built: {why}.", hint="Correct the Dockerfile or the preset.", details={"step": ""}
        )
    shown = textwrap.shorten(progress.title(step), 300, placeholder=" …")
    hint = "The last lines of that step say why; correct the preset's packages or the Dockerfile, then start again."
    if code and code[1] == KILLED_CODE:
        hint = (
            "It was killed, which is nearly always for want of memory: give the engine's machine more, or have fewer "
            "packages in one step."
        )
    return BuildFailed(
        f"The image cannot be built: {why} in this step: {shown}",
        hint=hint,
        details={"step": step, **({"exit_code": int(code.group(1))} if code else {})},
        log=log,
    )
