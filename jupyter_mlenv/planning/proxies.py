"""Proxies that lead nowhere from a container. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

HINT = (
    "The proxy {} is this machine's own loopback, which is another one in a container: nothing listens there. Have it "
    "listen on an address that containers reach, such as that of the bridge docker0, and name that address in "
    "`MlenvConfig.proxies`; or set `pass_proxies = False` if the network needs none."
)
"""The hint where one is the reason; `{}` is its address."""


def on_loopback(proxies: Mapping[str, str]) -> list[str]:
    """The addresses of those that name this machine's loopback, without a password."""
    return [_plain(url) for name, url in proxies.items() if name.lower() != "no_proxy" and _is_loopback(url)]


def _host(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"http://{url}").hostname or ""
    except ValueError:
        return ""


def _plain(url: str) -> str:
    return url.rpartition("@")[2] if "@" in url else url


def _is_loopback(url: str) -> bool:
    host = _host(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
