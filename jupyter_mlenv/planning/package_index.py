"""Pure: this machine's package index and certificates as what programs in a running container read.

An index's address may hold a password. So it goes into files that only the person can read, and never into the
container's variables, which the engine shows to whoever may use it, nor into the plan's label.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from ..container_layout import AGENT_FOLDER
from ..engines.model import FileEntry
from ..settings import Settings

CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
"""Variables that name a CA bundle to uv and OpenSSL, pip, requests, curl and git."""

CA_PATH = f"{AGENT_FOLDER}/ca.pem"
"""The file of this machine's certificates, inside every container that gets them."""

_PIP = {
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_TRUSTED_HOST": "trusted-host",
    "PIP_FIND_LINKS": "find-links",
}

_UV = {  # https://docs.astral.sh/uv/reference/settings/
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_TRUSTED_HOST": "allow-insecure-host",
    "PIP_FIND_LINKS": "find-links",
}


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables by which pip, uv, requests, curl and git trust what this machine trusts. None is secret."""
    if not (settings.pass_pip_settings and settings.ca_bundle):
        return {}
    return dict.fromkeys(CA_VARIABLES, CA_PATH)


def pip_conf(pip_env: Mapping[str, str]) -> str:
    """pip's configuration file; empty if there is nothing to say."""
    known = {_PIP[name]: value.split() for name, value in pip_env.items() if name in _PIP}
    lines = [f"{name} = {' '.join(words)}\n" for name, words in known.items() if words]
    return "[global]\n" + "".join(lines) if lines else ""


def uv_toml(pip_env: Mapping[str, str]) -> str:
    """Return the settings of uv."""
    known = {_UV[name]: value.split() for name, value in pip_env.items() if name in _UV}
    values = {name: words[0] if name == "index-url" else words for name, words in known.items() if words}
    # A text or a list of texts in JSON is one in TOML too.
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def home_files(settings: Settings, home: str) -> list[FileEntry]:
    """The configuration files of pip and uv in the person's home inside a container."""
    if not settings.pass_pip_settings:
        return []
    uid, gid = settings.uid, settings.gid
    texts = {"pip/pip.conf": pip_conf(settings.pip_env), "uv/uv.toml": uv_toml(settings.pip_env)}
    files = {f"{home}/.config/{path}": text for path, text in texts.items() if text}
    folders = dict.fromkeys([f"{home}/.config", *(os.path.dirname(path) for path in files)]) if files else {}
    return [
        *(FileEntry(folder, None, 0o700, uid, gid) for folder in folders),
        *(FileEntry(path, text.encode(), 0o600, uid, gid) for path, text in files.items()),
    ]
