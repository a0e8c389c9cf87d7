"""Checks of `doctor` that need no engine: Python, Jupyter, presets, the run directory, image names."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ... import safe_versions
from ...engines.base import Storage
from ...errors import MlenvError, PresetInvalid
from ...planning import proxies as loopback_proxies
from ...planning.image_names import apply_alias, normalize
from ...presets.model import BuiltImage, ImageSource, Preset, PulledImage
from ...settings import Settings
from .. import output

LOW_DISK_BYTES = 5_000_000_000
"""Bytes under which a warning is due: the usual deep-learning images unpack to more."""


@dataclass(frozen=True)
class Check:
    """One finding. `info` is neither good nor bad; `problem` means that something a person wants will not work."""

    name: str
    status: Literal["ok", "info", "warning", "problem"]
    message: str
    hint: str = ""


def broken(name: str, error: MlenvError) -> Check:
    """The finding that an error is."""
    return Check(name, "problem", error.message, error.hint)


def python() -> Iterator[Check]:
    """The interpreter that runs us, and what it is part of."""
    number = sys.version.split()[0]
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever forced the installation is told
        yield Check("Python", "problem", f"{number} is too old", "Install Python 3.10 or newer.")
    else:
        yield Check("Python", "ok", f"{number} in {output.short_path(sys.prefix)}")
    if shutil.which("jupyter-mlenv") is None:
        yield Check(
            "Command",
            "warning",
            "`jupyter mlenv` is not on PATH",
            f"Activate the environment in {sys.prefix}, or use {sys.executable} -m jupyter_mlenv.cli.",
        )


PLUGINS = {
    "jupyter-mlenv:model": "nothing of it is shown",
    "jupyter-mlenv:plugin": "no tiles, tabs or commands",
    "jupyter-mlenv:tabs": "tiles, tabs and commands",
    "jupyter-mlenv:launcher": "tiles",
    "jupyter-mlenv:running": "the section of running environments",
    "jupyter-mlenv:kernels": "notices of kernels",
}
"""The parts of the lab extension (`labextension/src/ids.ts`), and what goes without each."""

NEEDED = {"jupyter-mlenv:model", "jupyter-mlenv:plugin"}
"""The parts without which the extension does nothing that a person installs it for."""


def jupyter() -> Iterator[Check]:
    """JupyterLab and both halves of the extension: where Jupyter itself looks, not where we think they are."""
    try:
        found_lab = version("jupyterlab")
    except PackageNotFoundError:
        yield Check("JupyterLab", "problem", "not installed for this Python", "pip install jupyterlab")
        return
    yield old_jupyter({"jupyterlab": found_lab, "jupyter_server": version("jupyter_server")}) or Check(
        "JupyterLab", "ok", found_lab
    )
    from jupyter_core.paths import jupyter_config_path, jupyter_path  # noqa: PLC0415
    from jupyter_server.extension.config import ExtensionConfigManager  # noqa: PLC0415
    from jupyterlab_server.config import get_federated_extensions, get_page_config  # noqa: PLC0415

    reinstall = "pip install --force-reinstall --no-deps jupyter_mlenv, then restart Jupyter."
    manager = ExtensionConfigManager(read_config_path=jupyter_config_path())
    enabled = manager.get_jpserver_extensions().get("jupyter_mlenv")  # type: ignore[no-untyped-call]
    if enabled:
        yield Check("Server extension", "ok", "enabled")
    elif enabled is None:
        yield Check("Server extension", "problem", "not installed, so JupyterLab cannot start environments", reinstall)
    else:
        hint = "jupyter server extension enable jupyter_mlenv, then restart Jupyter."
        yield Check("Server extension", "problem", "disabled", hint)
    folders = jupyter_path("labextensions")
    found = get_federated_extensions(folders).get("jupyter-mlenv")
    disabled = get_page_config(folders).get("disabledExtensions", [])
    if found is None:
        yield Check("Lab extension", "problem", "not installed, so the launcher shows no tiles", reinstall)
    elif "jupyter-mlenv" in disabled:
        hint = "jupyter labextension enable jupyter-mlenv, then reload the page."
        yield Check("Lab extension", "problem", "disabled", hint)
    elif parts := [plugin for plugin in PLUGINS if plugin in disabled]:
        gone = [PLUGINS[plugin] for plugin in parts]
        enable = f"jupyter labextension enable {' '.join(parts)}, then reload the page."
        if NEEDED.intersection(parts):
            yield Check("Lab extension", "problem", f"disabled in {', '.join(parts)}: {gone[0]}", enable)
        else:
            yield Check(
                "Lab extension", "warning", f"enabled, without {' and '.join(gone)}", f"If you miss it: {enable}"
            )
    else:
        yield Check("Lab extension", "ok", f"{found.get('version', '')} enabled")


def old_jupyter(versions: Mapping[str, str]) -> Check | None:
    """A Jupyter on this machine with known holes; only one that was forced past our requirements can be."""
    old = safe_versions.older(versions)
    if not old:
        return None
    said = " and ".join(f"{name} {number}" for name, number in old.items())
    safe = ", ".join(safe_versions.FLOORS[name] for name in old)
    needed = " ".join(f"'{name}>={safe_versions.FLOORS[name]}'" for name in old)
    return Check(
        "JupyterLab",
        "problem",
        f"{said}: older versions than {safe} have known security holes",
        f"pip install --upgrade {needed}, then restart Jupyter.",
    )


def run_directory(settings: Settings) -> Iterator[Check]:
    """The place of sockets and tokens: ours alone. Its path may be long: `routes` reaches sockets of any length."""
    path = Path(settings.run_root)
    name, shown = "Run directory", output.short_path(settings.run_root)
    choose = "Choose another with --MlenvConfig.run_root=DIR."
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        if os.access(parent, os.W_OK):
            yield Check(name, "ok", f"{shown}, made by the first start")
        else:
            yield Check(name, "problem", f"{path} cannot be made: {parent} is not writable for you", choose)
    else:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            yield Check(name, "problem", f"{path} is not a directory of yours", choose)
        elif found.st_mode & 0o077:
            hint = f"The next start makes it private; or now: chmod 700 {path}"
            yield Check(name, "warning", f"others may enter {path} (mode {stat.S_IMODE(found.st_mode):03o})", hint)
        else:
            yield Check(name, "ok", shown)


def disk(storage: Storage) -> Check:
    """Check the free space where an engine on this machine keeps images."""
    free = shutil.disk_usage(storage.path).free
    said = f"{output.size(free)} free in {output.short_path(storage.path)}"
    if free < LOW_DISK_BYTES:
        return Check("Disk", "warning", said, f"Large images need more. {storage.hint}")
    return Check("Disk", "ok", said)


def proxies(settings: Settings) -> Iterator[Check]:
    """Check that containers can reach the proxies that they are told to use."""
    for address in loopback_proxies.on_loopback(settings.proxies):
        said = f"{address} is this machine's own loopback, where nothing listens in a container"
        yield Check("Proxy", "warning", said, loopback_proxies.HINT.format(address))


def presets(found: Sequence[Preset], invalid: Sequence[PresetInvalid]) -> Iterator[Check]:
    """Check that every preset file can be used."""
    yield Check("Presets", "ok" if found else "problem", f"{len(found)} can be used")
    for error in invalid:
        yield broken("Preset file", error)


def aliases(settings: Settings) -> Iterator[Check]:
    """Report image names that stand for another."""
    for name, other in settings.image_aliases.items():
        yield Check("Image alias", "info", f"{name} → {other}")


def registries(sources: Iterable[ImageSource], image_aliases: Mapping[str, str]) -> list[str]:
    """The hosts that images of these sources come from, `docker.io` for a name without one; aliases applied. Pure."""
    references = [
        source.base if isinstance(source, BuiltImage) else source.reference
        for source in sources
        if isinstance(source, (BuiltImage, PulledImage))
    ]
    names = [normalize(apply_alias(reference, image_aliases)) for reference in references]
    return list(dict.fromkeys(name.split("/")[0] for name in names))
