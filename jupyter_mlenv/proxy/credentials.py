"""Credentials of the outer server in a request, told from an application's own by their values. Pure.

An application behind the proxy may have logins of its own: a bearer token, `?token=` in an invitation, a token against
forged requests. What the outer server knows as its own never passes; where it cannot be told, as with the tokens of a
hub, nothing of that kind does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from .cookies import CookieRule
from .http1 import Header

SENT_BY_BROWSERS = frozenset(["basic", "digest", "hoba", "mutual", "negotiate", "ntlm", "scram-sha-1", "scram-sha-256"])
"""Schemes of `Authorization` that a browser adds by itself for a whole site, so for the outer server's reverse proxy
(IANA's registry of HTTP authentication schemes)."""

FIELDS = frozenset(["authorization", "referer", "x-csrftoken", "x-xsrftoken"])
"""Fields that are told by their values, in small letters."""

ARGUMENTS = frozenset(["token", "_xsrf"])
"""Query arguments in which the outer server takes credentials."""


@dataclass(frozen=True)
class Credentials:
    """The outer server's own. `told`: what is not among `secrets` is none of them."""

    secrets: frozenset[str] = frozenset()
    told: bool = False

    def hold(self, text: str) -> bool:
        """Return whether a text has one of them in it, or may have."""
        return not self.told or any(secret in text for secret in self.secrets)

    def pass_authorization(self, value: str) -> bool:
        """Return whether an application gets this `Authorization`."""
        return value.split(" ", maxsplit=1)[0].lower() not in SENT_BY_BROWSERS and not self.hold(value)

    def scrub_target(self, target: str) -> str:
        """Return the request target without query arguments that hold one, otherwise byte for byte the same."""
        path, mark, query = target.partition("?")
        if not mark or not ("token" in query or "_xsrf" in query or "%" in query):
            return target
        parts = query.split("&")
        kept = [part for part in parts if not self._in_argument(part)]
        if len(kept) == len(parts):
            return target
        return f"{path}?{'&'.join(kept)}" if kept else path

    def _in_argument(self, part: str) -> bool:
        name, _, value = part.partition("=")
        return unquote_plus(name) in ARGUMENTS and self.hold(unquote_plus(value))


UNTOLD = Credentials()
"""Those of a server whose credentials cannot be told by their values."""


def may_hold_one(headers: Iterable[Header]) -> bool:
    """Return whether a field can hold a credential that the cookies have too; most requests have none such."""
    return any(name.lower() in FIELDS for name, _ in headers)


def of_cookies(headers: Iterable[Header], rule: CookieRule) -> frozenset[str]:
    """Return the values of the outer server's cookies, as they are sent and as they are meant."""
    found = set()
    for name, field in headers:
        if name.lower() == "cookie":
            for part in field.split(";"):
                cookie, _, value = part.strip().partition("=")
                if value and not rule.inner(cookie.strip()):
                    found |= {value, unquote(value)}
    return frozenset(found)
