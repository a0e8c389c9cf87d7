"""Addresses below `<base_url>mlenv/`, in `envs/` and `apps/`: how one is written, and what may stand in it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import EndpointNotFound, EnvironmentNotFound

ENVIRONMENTS = "mlenv/envs/"
"""The path of every environment below a server's base URL."""

APPS = "mlenv/apps/"
"""The path of ports below a server's base URL at which the path is taken off: for web apps that know of no prefix."""

LAST_PORT = 65535

ENVIRONMENT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ENDPOINT_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}")


def endpoint_url(server_base_url: str, environment: str, endpoint: str) -> str:
    """The base URL under which a browser sees an endpoint, with a trailing slash: percent-encoding is kept as is."""
    return f"{server_base_url.rstrip('/')}/{ENVIRONMENTS}{environment}/{endpoint}/"


def app_url(server_base_url: str, environment: str, port: str) -> str:
    """The base URL under which a browser sees a web app that believes it lives at `/`, with a trailing slash."""
    return f"{server_base_url.rstrip('/')}/{APPS}{environment}/{port}/"


def is_port(name: str) -> bool:
    """Is an endpoint of this name a TCP port, in the one way to write it (`8000`, not `08000` or other digits)?"""
    return name.isascii() and name.isdecimal() and name[0] != "0" and len(name) <= 5 and int(name) <= LAST_PORT


def environment_id(text: str) -> str:
    """An id from a URL. What cannot be one is no environment of ours, and must not reach the engine's URLs.

    Raises EnvironmentNotFound.
    """
    if not ENVIRONMENT_PATTERN.fullmatch(text):
        raise EnvironmentNotFound(f"There is no environment {short(text)!r}.", details={"environment": short(text)})
    return text


def endpoint_name(text: str) -> str:
    """An endpoint's name or port from a URL, in the one way to write it; other ways would be other addresses for it.

    Raises EndpointNotFound.
    """
    if not (ENDPOINT_PATTERN.fullmatch(text) or is_port(text)):
        raise EndpointNotFound(f"There is no endpoint {short(text)!r}.", details={"endpoint": short(text)})
    return text


def short(text: str) -> str:
    """Return what a client sent as a short printable text."""
    return (text if len(text) <= 80 else text[:77] + "…").encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class EndpointAddress:
    """The address of something at an endpoint. `base_path` is the endpoint's own, with a trailing slash.

    `rest` is the path below it; None where not even a slash follows the endpoint's name. `at_root`: the service sees
    paths without `base_path`.
    """

    environment: str
    endpoint: str
    base_path: str
    rest: str | None
    at_root: bool = False


def parse_endpoint(path: str, server_base_url: str) -> EndpointAddress:
    """Read a request's path as the browser wrote it, below `<server_base_url>mlenv/envs/` or `…/mlenv/apps/`.

    Raises EnvironmentNotFound and EndpointNotFound, also for another way to write a name, as percent-encoded.
    """
    at_root = path.startswith(server_base_url + APPS)
    id, _, below = path[len(server_base_url + (APPS if at_root else ENVIRONMENTS)) :].partition("/")
    endpoint, slash, rest = below.partition("/")
    environment_id(id)
    endpoint_name(endpoint)
    if at_root and not is_port(endpoint):
        raise EndpointNotFound(
            f"{short(endpoint)} is no port.",
            hint=f"What a preset names is at {ENVIRONMENTS}{id}/{endpoint}/; below {APPS} are ports only.",
            details={"environment": id, "endpoint": endpoint},
        )
    address = app_url if at_root else endpoint_url
    return EndpointAddress(id, endpoint, address(server_base_url, id, endpoint), rest if slash else None, at_root)
