"""The images that `allowed_images` allows, and those that a Dockerfile uses. Pure.

A Dockerfile's images are found as BuildKit finds them
(https://docs.docker.com/reference/dockerfile/), and what this does not understand is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence

from ..errors import LimitExceeded
from .image_names import normalize

_DIRECTIVE = re.compile(r"\s*#\s*(syntax|escape|check)\s*=\s*(\S*)\s*$", re.IGNORECASE)
_ARG = re.compile(r"ARG\s+(.*)", re.IGNORECASE | re.DOTALL)
_FROM = re.compile(r"FROM\s+((?:--\S+\s+)*)(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_STEP = re.compile(r"(?:ONBUILD\s+)*(COPY|ADD|RUN|FROM)\b(.*)", re.IGNORECASE | re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")


def check(references: Sequence[str], allowed: Sequence[str], where: str) -> None:
    """Check images against the patterns; no pattern allows every image.

    Parameters
    ----------
    references
        Image names with or without registry and tag.
    allowed
        Patterns with `*` and `?`, over the name as people write it or with its registry, with or without the tag.
    where
        Who uses them, as the beginning of a sentence.

    Raises
    ------
    LimitExceeded
        One of them is not allowed.
    """
    for reference in references:
        if allowed and not any(_matches(reference, pattern) for pattern in allowed):
            raise LimitExceeded(
                f"{where} uses the image {reference[:200]}, which is not among the allowed ones.",
                hint=f"MlenvConfig.allowed_images has {', '.join(allowed)}.",
                details={"setting": "allowed_images", "maximum": ", ".join(allowed), "image": reference[:200]},
            )


def used(dockerfile: str, arguments: Mapping[str, str]) -> list[str]:
    """Every image that a build of this Dockerfile may read, each once: bases, `--from=` and the syntax's own.

    What cannot be told before the build, such as a name with a variable that has no value, is in the list as it is
    written, with its `$`, and no pattern but `*` allows it.
    """
    found: dict[str, None] = {}
    values: dict[str, str] = {}
    stages: set[str] = set()
    in_stage = False
    if frontend := arguments.get("BUILDKIT_SYNTAX", "") or _syntax(dockerfile):
        found[frontend] = None
    for line in _instructions(dockerfile):
        if not in_stage and (match := _ARG.match(line)):
            _declare(match[1], arguments, values)
        elif re.match(r"FROM\b", line, re.IGNORECASE):
            in_stage = True
            match = _FROM.match(line)
            image = _filled(match[2], values) if match else f"$({line[:100]})"
            if image.lower() not in stages and image.lower() != "scratch":
                found[image] = None
            if match and match[3]:
                stages.add(match[3].lower())
        elif match := _STEP.match(line):
            for source in _sources(match[2]):
                if source.lower() not in stages and not source.isdigit():
                    found[source if _NAME.fullmatch(source) else f"${source}"] = None
    return list(found)


def _matches(reference: str, pattern: str) -> bool:
    if "$" in reference:
        return pattern == "*"
    full = normalize(reference)
    name = normalize(reference.partition("@")[0].rpartition(":")[0] or reference, tag="") if _tagged(reference) else ""
    names = [full, name or normalize(reference, tag="")]
    short = [text.removeprefix(hub) for text in names for hub in ("docker.io/library/", "docker.io/")]
    return any(fnmatch.fnmatchcase(text, pattern) for text in (*names, *short))


def _tagged(reference: str) -> bool:
    return ":" in reference.partition("@")[0].rpartition("/")[2]


def _syntax(dockerfile: str) -> str:
    """The image of `# syntax=`, which only the first lines of comments can name."""
    for line in dockerfile.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.match(line)
        if match and match[1].lower() == "syntax":
            return match[2]
        if line.strip() and not line.lstrip().startswith(("#", "//")):
            return ""
    return ""


def _instructions(dockerfile: str) -> Iterator[str]:
    """Instructions with their continued lines, without comments; text of a here-document counts as instructions too."""
    escape, pending = "\\", ""
    for line in dockerfile.removeprefix("\ufeff").splitlines():
        match = _DIRECTIVE.match(line)
        if match and match[1].lower() == "escape" and match[2] == "`":
            escape = "`"
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.endswith(escape):
            pending += stripped[:-1]
            continue
        yield (pending + stripped).strip()
        pending = ""
    if pending:
        yield pending.strip()


def _declare(text: str, arguments: Mapping[str, str], values: dict[str, str]) -> None:
    for word in text.split():
        name, given, default = word.partition("=")
        if name in arguments:
            values[name] = arguments[name]
        elif given:
            values[name] = _filled(default.strip("\"'"), values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables; with a `$` where anything in it is not understood."""
    filled = _VARIABLE.sub(lambda match: values.get(match[1] or match[2], "$"), text)
    return filled if _NAME.fullmatch(filled) else f"${text}"


def _sources(options: str) -> Iterator[str]:
    """Return the sources that `--from=` and the `from=` of a `--mount=` name."""
    for option in re.findall(r"--\S+", options):
        if option.lower().startswith("--from="):
            yield option[len("--from=") :]
        elif option.lower().startswith("--mount="):
            yield from re.findall(r"(?:^|,)\"?from=\"?([^,\"]*)", option[len("--mount=") :], re.IGNORECASE)
