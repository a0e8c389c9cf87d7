"""Checks of the bodies that clients send, field by field. Pure: no request object, no engine, no file system.

Every function raises RequestInvalid with the field's name in `details["field"]`.
"""

from __future__ import annotations

import difflib
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .. import mounts as targets
from .. import urls
from ..engines import gpus
from ..engines.gpus import GpuRequest
from ..engines.model import Mount
from ..errors import JobNotFound, RequestInvalid
from ..planning.model import StartRequest
from ..sizes import SMALLEST_MEMORY_BYTES, parse_size

T = TypeVar("T")

MAX_NAME_CHARS = 64
"""Characters of an environment's name: it is shown in tabs and tables."""

MAX_TEXT_CHARS = 4096
"""Characters of any other text; PATH_MAX on Linux."""

MAX_TAIL_LINES = 10_000
"""Log lines per answer."""

MAX_MEMORY_BYTES = 2**50
"""Bytes. More is a mistake, and the engine's integers end at 2^63."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

WATCH_COMMAND_FIELDS = ("type", "job", "since")
ENDPOINT_FIELDS = ("endpoint",)
CONSENT_FIELDS = ("folder", "digest")
MOUNT_FIELDS = ("source", "target", "read_only")
START_FIELDS = (
    "preset",
    "path",
    "workspace",
    "name",
    "gpus",
    "memory",
    "cpus",
    "mounts",
    "recreate",
    "endpoint",
)


@dataclass(frozen=True)
class Start:
    """A checked body of `POST environments`. `path` (below the root directory) counts where `workspace` is empty."""

    preset: str
    path: str = ""
    workspace: str = ""
    name: str = ""
    gpus: GpuRequest | None = None
    memory: int | None = None
    cpus: float | None = None
    mounts: tuple[Mount, ...] = ()
    recreate: bool = False
    endpoint: str = ""

    def request(self, workspace: str) -> StartRequest:
        """The use case's request, for this absolute, resolved directory."""
        return StartRequest(
            preset=self.preset,
            workspace=workspace,
            name=self.name,
            gpus=self.gpus,
            memory=self.memory,
            cpus=self.cpus,
            mounts=self.mounts,
            recreate=self.recreate,
            endpoint=self.endpoint,
        )


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"The request's body is not JSON: {urls.short(str(error))}.") from error
    if not isinstance(value, dict):
        raise RequestInvalid(
            "The request's body is JSON, but not an object.", hint='Send for example {"preset": "host"}.'
        )
    return value


def start(body: Mapping[str, Any]) -> Start:
    """The body of `POST environments`."""
    _only(body, START_FIELDS)
    if not body.get("preset"):
        raise _invalid("preset", "is missing", 'Name a preset, for example {"preset": "host"}.')
    workspace = _text(body, "workspace")
    if workspace and not workspace.startswith("/"):
        raise _invalid(
            "workspace", "is not an absolute path", 'Use "path" for one relative to the server\'s root directory.'
        )
    return Start(
        preset=_text(body, "preset"),
        path="" if workspace else contents_path(_text(body, "path")),
        workspace=workspace,
        name=_name(body),
        gpus=_optional(body, "gpus", _gpus),
        memory=_optional(body, "memory", _memory),
        cpus=_optional(body, "cpus", _cpus),
        mounts=_mounts(body),
        recreate=_flag(body, "recreate"),
        endpoint=_text(body, "endpoint"),
    )


def endpoint(body: Mapping[str, Any]) -> str:
    """The body of `POST environments/{id}/start` and `/restart`."""
    _only(body, ENDPOINT_FIELDS)
    return _text(body, "endpoint")


def consent(body: Mapping[str, Any]) -> tuple[str, str]:
    """The body of `POST consents`: the project's folder, and the digest of what the person has seen."""
    _only(body, CONSENT_FIELDS)
    folder, digest = _text(body, "folder"), _text(body, "digest")
    if not folder.startswith("/"):
        raise _invalid("folder", "is not an absolute path", "Send the folder of the preset's consent object.")
    if not _DIGEST.fullmatch(digest):
        raise _invalid("digest", "is not 64 hex digits", "Send the digest of the preset's consent object.")
    return folder, digest


@dataclass(frozen=True)
class WatchCommand:
    """A checked message of a watcher: follow the job's log from line `since` on, or no longer."""

    job: str
    follow: bool
    since: int = 0


def watch_command(message: Mapping[str, Any]) -> WatchCommand:
    """A client's message on the watch WebSocket."""
    _only(message, WATCH_COMMAND_FIELDS)
    kind, since = message.get("type"), message.get("since") or 0
    if kind not in ("follow", "unfollow"):
        raise _invalid("type", 'is neither "follow" nor "unfollow"')
    if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < 10**15:
        raise _invalid("since", "is not the number of a line")
    return WatchCommand(job_id(_text(message, "job")), kind == "follow", since)


def contents_path(path: str) -> str:
    """A contents path (forward slashes, relative to the root directory), normalized; it may not lead out of it."""
    _usable("path", path)
    clean = posixpath.normpath(path.strip("/") or ".")
    if clean == ".." or clean.startswith("../"):
        raise _invalid("path", "leads out of the server's root directory", 'Use "workspace" for an absolute path.')
    return "" if clean == "." else clean


def job_id(text: str) -> str:
    """An id from a URL."""
    if not urls.ENVIRONMENT_PATTERN.fullmatch(text):
        raise JobNotFound(f"There is no job {urls.short(text)!r}.", details={"job": urls.short(text)})
    return text


def count(field: str, text: str, *, least: int, most: int) -> int:
    """A whole number of a query."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most):
        raise _invalid(field, f"is {urls.short(text)!r}, not a whole number from {least} to {most}")
    return int(text)


def _only(body: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name in body:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, n=1)
            raise _invalid(
                urls.short(str(name)), "is no field of this request", f"Did you mean {near[0]!r}?" if near else ""
            )


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(field, "is not a text")
    return _usable(field, value)


def _usable(field: str, value: str) -> str:
    if len(value) > MAX_TEXT_CHARS:
        raise _invalid(field, f"is longer than {MAX_TEXT_CHARS} characters")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _invalid(field, "holds a character that no file name can have")
    return value


def _name(body: Mapping[str, Any]) -> str:
    name = _text(body, "name")
    if len(name) > MAX_NAME_CHARS or _CONTROL.search(name):
        raise _invalid("name", f"is longer than {MAX_NAME_CHARS} characters or holds control characters")
    return name.strip()


def _flag(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise _invalid(field, "is neither true nor false")
    return bool(value)


def _optional(body: Mapping[str, Any], field: str, check: Callable[[str, Any], T]) -> T | None:
    return None if body.get(field) is None else check(field, body[field])


def _gpus(field: str, value: Any) -> GpuRequest:
    try:
        return gpus.parse(value)
    except RequestInvalid as error:
        raise _invalid(field, "is no GPU request", error.hint) from error


def _memory(field: str, value: Any) -> int:
    size = value
    if isinstance(value, str):
        try:
            size = parse_size(value)
        except ValueError as error:
            raise _invalid(field, str(error)) from error
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST_MEMORY_BYTES <= size <= MAX_MEMORY_BYTES:
        raise _invalid(field, "is no size that an engine accepts", 'Write bytes, or for example "8g"; 6m at least.')
    return size


def _cpus(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.01 <= value <= 10_000:
        raise _invalid(field, "is not a number of cores", "Write for example 2 or 0.5.")
    return float(value)


def _mounts(body: Mapping[str, Any]) -> tuple[Mount, ...]:
    values = body.get("mounts") or []
    if not isinstance(values, list) or len(values) > 64 or not all(isinstance(value, dict) for value in values):
        raise _invalid("mounts", "is not a list of objects", 'Write [{"source": "/data", "target": "/data"}].')
    return tuple(_mount(value) for value in values)


def _mount(value: Mapping[str, Any]) -> Mount:
    _only(value, MOUNT_FIELDS)
    source = _text(value, "source")
    target = _text(value, "target") or source
    for field, path in (("source", source), ("target", target)):
        if not path.startswith("/"):
            raise _invalid(f"mounts.{field}", "is not an absolute path")
    if reason := targets.refusal(target):
        raise _invalid("mounts.target", f"cannot be {urls.short(target)!r}: {reason}", "Choose one below /mnt.")
    return Mount(targets.clean(source), targets.clean(target), _flag(value, "read_only"))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _invalid(field: str, what: str, hint: str = "") -> RequestInvalid:
    return RequestInvalid(f"{field!r} {what}.", hint=hint, details={"field": field})
