"""Defaults of the configuration from this machine: certificates, proxies and package index.

Every function takes what it reads (`env` is a mapping such as `os.environ`), so that nothing is decided at import.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket on Linux: `sun_path` holds 108 with the closing NUL (unix(7))."""

LONGEST_SOCKET = "/0123456789/k-0123456789ab-ipc-5"
"""The longest socket path below `run_root`: ten hex digits of the environment, a socket of a kernel."""

CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def run_root(data_dir: str) -> str:
    """Return the parent of run directories: in the Jupyter data directory, unless socket paths get too long there."""
    preferred = os.path.join(data_dir, "mlenv", "run")
    return preferred if socket_paths_fit(preferred) else f"/tmp/jupyter-mlenv-{os.getuid()}"  # noqa: S108  (0700, checked)


def socket_paths_fit(run_root: str) -> bool:
    """Return whether the paths of unix sockets below this directory are short enough."""
    return len(os.fsencode(run_root + LONGEST_SOCKET)) <= SOCKET_PATH_BYTES


def ca_bundle(env: Mapping[str, str]) -> str:
    """The PEM file that this machine's programs trust; empty if none is found."""
    named = (env.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return next((path for path in (*named, *CA_BUNDLES) if path and os.path.isfile(path)), "")


def proxies(env: Mapping[str, str]) -> dict[str, str]:
    """`http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, as far as they are set in either case."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    found = {name: env.get(name) or env.get(name.upper(), "") for name in names}
    return {name: value for name, value in found.items() if value}


def own_gpus(env: Mapping[str, str]) -> tuple[str, ...] | None:
    """The ids of the GPUs that a scheduler, or whoever started this process, left to it; None where nobody did.

    An empty `CUDA_VISIBLE_DEVICES` means none at all, as for CUDA
    (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables).
    """
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "NVIDIA_VISIBLE_DEVICES"):
        value = env.get(name)
        if value is None or (not value and name != "CUDA_VISIBLE_DEVICES") or value in ("all", "none", "void"):
            continue
        ids = [word.strip() for word in value.split(",")]
        return tuple(takewhile(lambda id: re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]*", id), ids))
    return None


def pip_settings(env: Mapping[str, str], config: Mapping[str, str]) -> dict[str, list[str]]:
    """`index`, `extra`, `trusted` and `links`: package index settings that also mean something inside a build.

    The environment wins over pip's configuration, pip's names over uv's. Files and directories of this machine do not
    exist in a build and are left out.
    """

    def first(*candidates: str | None) -> list[str]:
        words = next((text for text in candidates if text), "").split()
        return [url for url in words if "://" in url and not url.startswith("file:")]

    def unnamed(text: str | None) -> str:  # uv allows `name=url`
        return " ".join(word.split("=", 1)[1] if "=" in word.split("://")[0] else word for word in (text or "").split())

    return {
        "index": first(
            env.get("PIP_INDEX_URL"), env.get("UV_DEFAULT_INDEX"), env.get("UV_INDEX_URL"), config.get("index-url")
        )[:1],
        "extra": first(
            env.get("PIP_EXTRA_INDEX_URL"),
            unnamed(env.get("UV_INDEX")),
            env.get("UV_EXTRA_INDEX_URL"),
            config.get("extra-index-url"),
        ),
        "trusted": (env.get("PIP_TRUSTED_HOST") or config.get("trusted-host") or "").split(),
        "links": first(env.get("PIP_FIND_LINKS"), env.get("UV_FIND_LINKS"), config.get("find-links")),
    }


def pip_config(env: Mapping[str, str]) -> dict[str, str]:
    """Return the options of `pip install` in pip's configuration files; the more specific file wins.

    Order and places: https://pip.pypa.io/en/stable/topics/configuration/. A file that is no INI file is passed over.
    """
    merged: dict[str, str] = {}
    if env.get("PIP_CONFIG_FILE") == os.devnull:
        return merged
    for path in _pip_config_files(env):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                merged.update(parser.items(section))
    return merged


def _pip_config_files(env: Mapping[str, str]) -> Iterable[Path]:
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    for folder in reversed(env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(env.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if env.get("PIP_CONFIG_FILE"):
        yield Path(env["PIP_CONFIG_FILE"])
