"""The origins of requests: the ones that another web site may have caused. Pure.

The proxied application does not know the outer server's XSRF token, so the token cannot be asked for; who caused a
request is judged by `Origin`, `Referer` and `Sec-Fetch-Site` instead, which a page cannot forge (they are forbidden
request-header names of the Fetch standard).

Browsers send `Sec-Fetch-*` only to https and to this machine itself. Over plain http to a host's name a page of
another port can also leave out `Referer`, and reads that are no CORS carry no `Origin`. What it cannot do is send
`Upgrade-Insecure-Requests` with anything but a navigation, or hide that it is a browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
TAB_DESTINATIONS = ("", "document")
"""What `Sec-Fetch-Dest` says of a page in a tab of its own; a frame is another one."""

OWN, FOREIGN, UNKNOWN = "own", "foreign", "unknown"


@dataclass(frozen=True)
class OriginPolicy:
    """The server's `allow_origin` and `allow_origin_pat`.

    `*` opens reading and WebSockets as it does in jupyter_server. It does not open changes made with a cookie:
    jupyter_server guards those with the XSRF token even then.
    """

    allow_origin: str = ""
    allow_origin_pat: str | None = None

    def allows(self, origin: str, *, unsafe: bool) -> bool:
        """Return whether pages of this foreign origin (lower case) may cause such requests."""
        if self.allow_origin == "*":
            return not unsafe
        if self.allow_origin:
            return self.allow_origin.lower() == origin
        return bool(self.allow_origin_pat and re.fullmatch(self.allow_origin_pat, origin))

    def lets_read(self, headers: Mapping[str, str]) -> bool:
        """Return whether the page that asks has an origin of its own, which may read answers."""
        origin = headers.get("Origin", "").lower()
        return bool(origin) and self.allows(origin, unsafe=False)


def source(headers: Mapping[str, str]) -> str:
    """Return who caused a request: a page of this server or a person (`OWN`), another site (`FOREIGN`), `UNKNOWN`."""
    site = headers.get("Sec-Fetch-Site", "")
    if site:
        return OWN if site in ("same-origin", "none") else FOREIGN
    origin = _origin(headers)
    if origin:
        return OWN if _netloc(origin) == headers.get("Host", "").lower() else FOREIGN
    return UNKNOWN


def navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a browser opens this as a page, in a tab as far as it says so."""
    if method != "GET":
        return False
    mode = headers.get("Sec-Fetch-Mode")
    if mode:
        return mode == "navigate" and headers.get("Sec-Fetch-Dest", "") in TAB_DESTINATIONS
    return headers.get("Upgrade-Insecure-Requests") == "1"


def refusal(method: str, upgrade: bool, headers: Mapping[str, str], policy: OriginPolicy) -> str:
    """Return why a cookie-authenticated request is refused; empty if it may pass. `headers` is case-insensitive."""
    origin = _origin(headers)
    if method in SAFE_METHODS and not upgrade:
        who = source(headers)
        if who == OWN or navigation(method, headers) or (origin and policy.allows(origin, unsafe=False)):
            return ""
        if who == UNKNOWN and not headers.get("User-Agent", "").startswith("Mozilla/"):
            return ""  # a program, which no page can send on its way
        return "another web site may have asked for this page's content"
    if upgrade and "Origin" not in headers:
        return "the request does not say where it comes from (no Origin)"
    site = headers.get("Sec-Fetch-Site", "")
    if origin:
        if policy.allows(origin, unsafe=not upgrade):
            return ""
        if site == "cross-site" or _netloc(origin) != headers.get("Host", "").lower():
            return f"the request comes from {origin}"
        return ""
    if site in ("same-origin", "none"):
        return ""
    if site:
        return "the request comes from another web site"
    return "the request does not say where it comes from (no Origin, Referer or Sec-Fetch-Site)"


def needs_click(method: str, headers: Mapping[str, str], query: str, policy: OriginPolicy) -> bool:
    """Return whether a person has to confirm this page, since another web site may have sent the browser here.

    Where nobody can tell (plain http, no Referer: a typed address looks the same) a bare address needs no click.
    """
    if not navigation(method, headers):
        return False
    who, origin = source(headers), _origin(headers)
    if who == FOREIGN:
        return not (origin and policy.allows(origin, unsafe=False))
    browser = headers.get("User-Agent", "").startswith("Mozilla/")
    return who == UNKNOWN and browser and bool(query)


def foreign(headers: Mapping[str, str]) -> bool:
    """Return whether the request says that another site caused it. One that was opened as a page does not count."""
    origin = headers.get("Origin")
    if origin is not None and _netloc(origin.lower()) != headers.get("Host", "").lower():
        return True
    return source(headers) == FOREIGN and not navigation("GET", headers)


def _origin(headers: Mapping[str, str]) -> str:
    """Return `Origin`, else the origin of `Referer`, in lower case; empty if neither is there."""
    origin = headers.get("Origin")
    if origin is None:
        referer = headers.get("Referer")
        if not referer:
            return ""
        origin = f"{referer.partition(':')[0]}://{_netloc(referer)}"
    return origin.lower() or "null"


def _netloc(url: str) -> str:
    """Return host and port of a URL, empty if it has none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
