"""Choice of the engine by the rules of the docker command line, as a function of environment and files."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import EngineUnavailable

DEFAULT_SOCKET = "/var/run/docker.sock"

LOOPBACK = "127.0.0.1"

OTHER_ENGINES = {
    ".docker/desktop/docker.sock": "Docker Desktop",  # on Linux
    ".docker/run/docker.sock": "Docker Desktop",
    ".orbstack/run/docker.sock": "OrbStack",
    ".colima/default/docker.sock": "colima",
    ".config/colima/default/docker.sock": "colima",
    ".rd/docker.sock": "Rancher Desktop",
    ".lima/docker/sock/docker.sock": "lima",
}
"""Sockets below the home directory, as each program's own documentation has them."""


@dataclass(frozen=True)
class EngineEndpoint:
    """The address of an engine, and where it comes from (`origin`, for messages).

    `ca`, `cert`, `key` are paths of PEM files or empty; `verify` tells whether the server's certificate is checked.
    """

    url: str
    origin: str
    tls: bool = False
    verify: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def socket(self) -> str:
        """Path of the unix socket; empty for another kind of URL."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else ""

    def host(self) -> str:
        """The IP address of an engine that listens on TCP, and where its ports are reached; looks up a name."""
        name = urlsplit(self.url).hostname if self.url.startswith(("tcp://", "http://", "https://")) else None
        with suppress(OSError):
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM) if name else []
            found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # what engines publish ports on
            return str(found[0][4][0]) if found else LOOPBACK
        return LOOPBACK


def find_endpoint(url: str | None, environ: Mapping[str, str], default_socket: str = DEFAULT_SOCKET) -> EngineEndpoint:
    """The engine that the docker command line would talk to.

    An explicit url wins, then `DOCKER_HOST` (with `DOCKER_TLS_VERIFY` or `DOCKER_TLS`, and `DOCKER_CERT_PATH`), then
    the context named by `DOCKER_CONTEXT` or by `currentContext` in the configuration, then the default socket, then,
    where that is not there or may not be used, those that a person's own engine has. Order: `resolveContextName` in
    docker/cli `cli/command/cli.go`.

    Raises
    ------
    EngineUnavailable
        A context is named that does not exist, or its file cannot be read.
    """
    if url:
        return _with_tls(url, "the configured engine URL", environ)
    if environ.get("DOCKER_HOST"):
        return _with_tls(environ["DOCKER_HOST"], "DOCKER_HOST", environ)
    folder = _config_folder(environ)
    context = environ.get("DOCKER_CONTEXT") or _read_json(folder / "config.json").get("currentContext") or "default"
    if context != "default":
        return _from_context(folder, str(context))
    if not os.access(default_socket, os.W_OK):
        for path, origin in _other_sockets(environ):
            if os.access(path, os.W_OK):
                return EngineEndpoint(f"unix://{path}", origin)
    return EngineEndpoint(f"unix://{default_socket}", "the default socket")


def _other_sockets(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The sockets of engines that a person runs for themselves, and what they are called; the most usual first."""
    runtime, home = environ.get("XDG_RUNTIME_DIR", ""), environ.get("HOME") or os.path.expanduser("~")
    if os.path.isabs(runtime):
        yield f"{runtime}/docker.sock", "the rootless socket"
    for below, name in OTHER_ENGINES.items():
        yield f"{home}/{below}", f"the socket of {name}"


def _config_folder(environ: Mapping[str, str]) -> Path:
    if environ.get("DOCKER_CONFIG"):
        return Path(environ["DOCKER_CONFIG"])
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".docker"


def _with_tls(url: str, origin: str, environ: Mapping[str, str]) -> EngineEndpoint:
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not url.startswith(("tcp://", "https://")) or not (verify or environ.get("DOCKER_TLS")):
        return EngineEndpoint(url, origin)
    folder = Path(environ.get("DOCKER_CERT_PATH") or _config_folder(environ))
    return EngineEndpoint(url, origin, True, verify, *_pem_files(folder))


def _pem_files(folder: Path) -> tuple[str, str, str]:
    paths = (folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    ca, cert, key = (str(path) if path.is_file() else "" for path in paths)
    return ca, cert, key


def _from_context(folder: Path, name: str) -> EngineEndpoint:
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = _read_json(folder / "contexts" / "meta" / identity / "meta.json")
    docker = meta.get("Endpoints", {}).get("docker", {})
    if not docker.get("Host"):
        raise EngineUnavailable(
            f"The docker context {name!r} does not exist.",
            hint="`docker context ls` shows what there is; `docker context use default` goes back to the local engine.",
            details={"context": name},
        )
    ca, cert, key = _pem_files(folder / "contexts" / "tls" / identity / "docker")
    return EngineEndpoint(
        url=str(docker["Host"]),
        origin=f"the docker context {name!r}",
        tls=bool(ca or cert),
        verify=not docker.get("SkipTLSVerify", False),
        ca=ca,
        cert=cert,
        key=key,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"The docker configuration {path} cannot be read: {error}", hint="Correct or remove that file."
        ) from error
    return content if isinstance(content, dict) else {}
