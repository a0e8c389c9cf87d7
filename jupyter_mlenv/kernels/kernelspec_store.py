"""Kernelspecs on disk: written, listed, repaired and removed. One that is not ours is never touched."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import EnvironmentFailed, NotFound, RequestInvalid
from . import kernelspec
from .kernelspec import marker

LOGO = "logo-svg.svg"
"""The file name that JupyterLab and Notebook look for first."""

SIGN = ".jupyter-mlenv"
"""An empty file that says whose folder this is even when kernel.json is damaged."""


@dataclass(frozen=True)
class Installed:
    """A kernelspec of ours. `broken`: its kernel.json cannot be read."""

    name: str
    path: Path
    spec: Mapping[str, Any]

    @property
    def broken(self) -> bool:
        return not self.spec

    @property
    def preset(self) -> str:
        return str((marker(self.spec) or {}).get("preset", ""))

    @property
    def automatic(self) -> bool:
        return bool((marker(self.spec) or {}).get("automatic"))


def installed(folder: str) -> list[Installed]:
    """The kernelspecs of ours in a `kernels` folder, by name; none if it is not there."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = (_read(Path(folder, name)) for name in names)
    return [one for one in found if one is not None]


def write(folder: str, name: str, spec: Mapping[str, Any], icon: str = "") -> Path:
    """Write or repair one, each file at once; returns its folder.

    Raises RequestInvalid if a kernelspec of that name is somebody else's, EnvironmentFailed if it cannot be written.
    """
    path = Path(folder, name)
    if path.exists() and _read(path) is None:
        raise RequestInvalid(
            f"There is a kernel {name} in {folder} that jupyter mlenv did not make.", hint="Choose another name."
        )
    content = {"kernel.json": _content(spec), LOGO: _logo(icon), SIGN: b""}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for file, data in content.items():
            _write(path / file, data)
    except OSError as error:
        raise EnvironmentFailed(
            f"The kernel {name} cannot be written to {folder}: {error.strerror}.",
            hint="Choose another place: --user, --sys-prefix or --prefix DIR.",
        ) from error
    return path


def remove(folder: str, name: str) -> None:
    """Remove one of ours. Raises NotFound if there is none of that name, EnvironmentFailed if it cannot be removed."""
    path = Path(folder, name)
    if _read(path) is None:
        raise NotFound(
            f"There is no kernel {name} of jupyter mlenv in {folder}.", hint="See: jupyter mlenv kernels list"
        )
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise EnvironmentFailed(f"The kernel {name} in {folder} cannot be removed: {error.strerror}.") from error


def sync(folder: str, wanted: Mapping[str, tuple[Mapping[str, Any], str]]) -> tuple[list[str], list[str]]:
    """Make the automatic kernelspecs in `folder` the wanted ones; what a person added or another package made stays.

    Of what a person added only an argv of an earlier version is renewed. `wanted`: kernel.json and icon by name.
    Returns the names that were written and that were removed.
    """
    there = {one.name: one for one in installed(folder)}
    written, removed = [], []
    for name, (spec, icon) in wanted.items():
        one = there.get(name)
        if one is None and Path(folder, name).exists():
            continue  # somebody else's
        if one is None or one.broken or (one.automatic and one.spec != spec):
            write(folder, name, spec, icon)
            written.append(name)
    for name, one in there.items():
        if name not in wanted and (one.automatic or one.broken):
            remove(folder, name)
            removed.append(name)
    written += [name for name in renew(folder) if name not in written]
    return written, removed


def renew(folder: str) -> list[str]:
    """Renew the kernelspecs of ours whose argv an earlier version wrote; what may not be written stays. Names."""
    renewed = []
    for one in installed(folder):
        spec = kernelspec.renewed(one.spec)
        if spec is not None and os.access(one.path, os.W_OK):
            with suppress(OSError):
                _write(one.path / "kernel.json", _content(spec))
                renewed.append(one.name)
    return renewed


def folders(data_path: Sequence[str]) -> list[str]:
    """The `kernels` folder of each Jupyter data directory."""
    return [os.path.join(path, "kernels") for path in data_path]


def _read(path: Path) -> Installed | None:
    """The kernelspec of ours in this folder; `None` if it is somebody else's, or none."""
    if path.is_symlink() or not path.is_dir():
        return None
    signed = (path / SIGN).is_file()
    try:
        spec = json.loads((path / "kernel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Installed(path.name, path, {}) if signed else None
    if not isinstance(spec, dict) or marker(spec) is None:
        return Installed(path.name, path, {}) if signed and not isinstance(spec, dict) else None
    return Installed(path.name, path, spec)


def _content(spec: Mapping[str, Any]) -> bytes:
    return (json.dumps(spec, indent=1) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    """Write so that a reader sees the old content or the new one; also other people, where it is for everybody."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(handle, 0o644)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


@lru_cache(maxsize=64)
def _logo(icon: str) -> bytes:
    logos = files(__package__) / "logos"
    known = logos / f"{icon}.svg"
    return (known if icon and known.is_file() else logos / "environment.svg").read_bytes()
