"""Logins, remembered for a few seconds: asking the identity provider costs as much as forwarding does."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from tornado.httputil import HTTPServerRequest

from ..bounded_cache import BoundedCache

LOGIN_TTL_SECONDS = 5.0
"""Seconds; also the longest that a login revoked on the server side still works. A logout in the browser drops the
cookie, which makes another key, so it works at once."""

MAX_LOGINS = 512

NO_CREDENTIALS = frozenset(
    [
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Cache-Control",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "Dnt",
        "Expect",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Keep-Alive",
        "Origin",
        "Pragma",
        "Priority",
        "Purpose",
        "Range",
        "Referer",
        "Save-Data",
        "Sec-Ch-Ua",
        "Sec-Ch-Ua-Mobile",
        "Sec-Ch-Ua-Platform",
        "Sec-Fetch-Dest",
        "Sec-Fetch-Mode",
        "Sec-Fetch-Site",
        "Sec-Fetch-User",
        "Sec-Gpc",
        "Sec-Websocket-Extensions",
        "Sec-Websocket-Key",
        "Sec-Websocket-Protocol",
        "Sec-Websocket-Version",
        "Te",
        "Transfer-Encoding",
        "Upgrade",
        "Upgrade-Insecure-Requests",
        "User-Agent",
        "X-Requested-With",
    ]
)
"""Fields that no identity provider logs somebody in by; every other field makes another key."""

TOKEN_ONLY_PROVIDERS = ("jupyter_server.", "jupyterhub.")
"""Modules of identity providers that look at no query argument but `token`."""


@dataclass(frozen=True)
class Login:
    """`user` is the identity provider's; `by_token` is true where the request itself carried the token."""

    user: Any
    by_token: bool


def login_key(request: HTTPServerRequest, identity_provider: object) -> Hashable:
    """Return a key: two requests that have the same carry the same credentials from the same client."""
    query = request.query
    plain = "token" not in query and "%" not in query
    if plain and type(identity_provider).__module__.startswith(TOKEN_ONLY_PROVIDERS):
        query = ""
    fields = tuple(field for field in request.headers.get_all() if field[0] not in NO_CREDENTIALS)
    return (request.remote_ip, request.protocol, query, fields)


class Logins:
    """Logins by key, each for `ttl` seconds; 0 remembers nothing."""

    def __init__(self, ttl: float = LOGIN_TTL_SECONDS) -> None:
        self._ttl = ttl
        self._known: BoundedCache[Hashable, tuple[float, Login]] = BoundedCache(MAX_LOGINS)

    def get(self, key: Hashable) -> Login | None:
        known = self._known.get(key)
        if known is None:
            return None
        if known[0] < time.monotonic():
            self._known.drop(key)
            return None
        return known[1]

    def put(self, key: Hashable, login: Login) -> None:
        if self._ttl > 0:
            self._known.put(key, (time.monotonic() + self._ttl, login))
