"""Pure: which variables of a container everybody may read who may use the engine, and which only programs inside.

The engine shows a container's variables and labels to all its users, and they end up in reports of faults. A token in
a preset's `[env]` or a proxy's password has no business there. So they are in a file of the person's, which the agent
reads when it starts, and from which all that it starts has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ..container_layout import AGENT_FOLDER
from ..engines.model import FileEntry
from ..presets.model import Preset
from ..settings import Settings

FILE = f"{AGENT_FOLDER}/environ"
"""`NAME=value` with a zero byte behind each, as in `/proc/PID/environ`."""

SERVICES_FILE = f"{AGENT_FOLDER}/services.json"
"""The file of the variables of single endpoints, by their names."""

# What the engine, a GPU's container runtime or the loader of programs reads before the agent can.
_BEFORE = re.compile(r"PATH|LD_\w+|(NVIDIA|AMD|HABANA|ASCEND)_\w+|\w+_VISIBLE_DEVICES")


def proxies(settings: Settings) -> dict[str, str]:
    """Return this site's proxies as variables, in both cases, since programs disagree about which one they read."""
    return {form: value for name, value in settings.proxies.items() for form in (name.lower(), name.upper())}


def of_container(preset: Preset, proxies: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The container's own variables: `known`, which hold no secret, and of the rest what has to be among them."""
    shown = {name: value for name, value in proxies.items() if not _secret(value) and name not in preset.env}
    early = {name: value for name, value in preset.env.items() if _BEFORE.fullmatch(name)}
    return {**known, **shown, **early}


def files(settings: Settings, preset: Preset, proxies: Mapping[str, str]) -> list[FileEntry]:
    """Return the files that the agent reads: the preset's variables, proxies with a password; none if both are
    empty."""
    secret = {name: value for name, value in proxies.items() if _secret(value) and name not in preset.env}
    own = {name: value for name, value in preset.env.items() if not _BEFORE.fullmatch(name)}
    lines = "".join(f"{name}={value}\0" for name, value in {**secret, **own}.items())
    services = {endpoint.name: dict(endpoint.env) for endpoint in preset.endpoints if endpoint.env}
    texts = {FILE: lines, SERVICES_FILE: json.dumps(services) if services else ""}
    return [FileEntry(path, text.encode(), 0o600, settings.uid, settings.gid) for path, text in texts.items() if text]


def _secret(url: str) -> bool:
    """Return whether a proxy's address names somebody: `http://ann:password@proxy:3128`."""
    return "@" in url
