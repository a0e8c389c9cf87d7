"""Redirects of services: an app that knows nothing of the prefix in the browser's address is kept below it. Pure.

`Location: /login` would lead to the outer server's own login, and `http://127.0.0.1:8000/` to the person's own machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0")  # noqa: S104  a name, nobody listens
"""The ways in which a service calls the machine that it runs on."""

REFRESH = re.compile(r"[0-9.]+\s*[;,]\s*(?:url\s*=\s*)?", re.IGNORECASE)
"""What stands before the address in `Refresh`, as HTML's "shared declarative refresh steps" read it."""


def own_hosts(host: str, port: str) -> frozenset[str]:
    """Return the hosts that mean a service of this port to itself, beside `host`, the one in the browser's address."""
    names = LOCAL_NAMES if port.isdecimal() else ()
    return frozenset(filter(None, [host.lower(), *(f"{name}:{port}" for name in names)]))


def location(value: str, base_path: str, hosts: Collection[str]) -> str:
    """Return where a redirect leads in the browser; what it leads to outside of these hosts stays as it is.

    Parameters
    ----------
    base_path
        The path of the endpoint in the browser, with a trailing slash.
    hosts
        Those by which a service means itself, in small letters.
    """
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return value
    if parts.netloc:
        if parts.netloc.lower() not in hosts or parts.scheme not in ("", "http", "https"):
            return value
    elif parts.scheme or not parts.path.startswith("/"):
        return value
    path = parts.path or "/"
    here = path if _known(path, base_path) else base_path + path.lstrip("/")
    return here + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")


def refresh(value: str, base_path: str, hosts: Collection[str]) -> str:
    """Return the value of a `Refresh` field with the address in it as `location` has it."""
    text = value.strip()
    found = REFRESH.match(text)
    if found is None:
        return value
    address = text[found.end() :]
    quote = address[:1] if address[:1] in ("'", '"') else ""
    if quote:
        address = address[1:].partition(quote)[0]
    return text[: found.end()] + quote + location(address, base_path, hosts) + quote


def _known(path: str, base_path: str) -> bool:
    """Return whether this path has the prefix already: that of this endpoint, or of another one of ours."""
    ours = base_path.rsplit("/", 4)[0] + "/"  # `…/mlenv/envs/<id>/<endpoint>/`
    return path.startswith(ours) or path + "/" == base_path
