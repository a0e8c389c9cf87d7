"""Which requests another web site may have caused. Pure.

The proxied application does not know the outer server's XSRF token, so the token cannot be asked for; who caused a
request is judged by `Origin`, `Referer` and `Sec-Fetch-Site` instead, which a page cannot forge (they are forbidden
request-header names of the Fetch standard).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


@dataclass(frozen=True)
class OriginPolicy:
    """The server's `allow_origin` and `allow_origin_pat`.

    `*` opens reading and WebSockets as it does in jupyter_server. It does not open changes made with a cookie:
    jupyter_server guards those with the XSRF token even then.
    """

    allow_origin: str = ""
    allow_origin_pat: str | None = None

    def allows(self, origin: str, *, unsafe: bool) -> bool:
        """May pages of this foreign origin (lower case) cause such requests?"""
        if self.allow_origin == "*":
            return not unsafe
        if self.allow_origin:
            return self.allow_origin.lower() == origin
        return bool(self.allow_origin_pat and re.fullmatch(self.allow_origin_pat, origin))


def refusal(method: str, upgrade: bool, headers: Mapping[str, str], policy: OriginPolicy) -> str:
    """Why a cookie-authenticated request is refused; empty if it may pass. `headers` is case-insensitive."""
    site = headers.get("Sec-Fetch-Site", "")
    if method in SAFE and not upgrade:
        if site not in ("cross-site", "same-site") or headers.get("Sec-Fetch-Mode") == "navigate":
            return ""
        origin = _origin(headers)
        if origin and policy.allows(origin, unsafe=False):
            return ""
        return "another web site asked for this page's content"
    origin = _origin(headers)
    if origin:
        if policy.allows(origin, unsafe=not upgrade):
            return ""
        if site == "cross-site" or urlsplit(origin).netloc != headers.get("Host", "").lower():
            return f"the request comes from {origin}"
        return ""
    if site in ("same-origin", "none"):
        return ""
    if site:
        return "the request comes from another web site"
    return "the request does not say where it comes from (no Origin, Referer or Sec-Fetch-Site)"


def _origin(headers: Mapping[str, str]) -> str:
    """`Origin`, else the origin of `Referer`, in lower case; empty if neither is there."""
    origin = headers.get("Origin")
    if origin is None:
        referer = headers.get("Referer")
        if not referer:
            return ""
        parts = urlsplit(referer)
        origin = f"{parts.scheme}://{parts.netloc}"
    return origin.lower() or "null"
