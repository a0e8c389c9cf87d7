"""Cookies between a browser and an inner application: the ones that pass, confined to its address. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from .http1 import BLANK

OUTER_COOKIE_PREFIXES = (
    "username-",  # jupyter_server's login
    "_xsrf",
    "jupyterhub-",
    "jupyter-hub-",
    "_oauth2_proxy",
    "_forward_auth",
    "_pomerium",
    "_shibsession_",
    "appserviceauthsession",
    "authelia_session",
    "authentik_",
    "awselbauthsessioncookie",
    "azureappproxy",
    "cf_authorization",
    "cf_appsession",
    "gcp_iap",
    "gcp_iaap",
    "grv_app_session",  # Teleport
    "kc-",  # Keycloak's gatekeeper
    "lemonldap",
    "mellon-",
    "mod_auth_openidc_",
    "vouchcookie",
)
"""Cookies, in lower case, of the outer server, of the hub, and of the sign-on proxies people put before them."""

COOKIE_NAME_PREFIXES = re.compile(r"(?:__(?:host|secure|http)-|__host-http-)*")
"""What a browser reads into the beginning of a cookie's name (RFC 6265bis 4.1.3), in lower case."""

COOKIE_NAME = re.compile(r"[!#-+\-.\/0-:<-~]+")
"""Visible ASCII but quotes, commas, semicolons and equals signs. White space of any alphabet around a name, or a cookie
without a name, is one name to the browser and another one to the server that the cookie goes back to."""

COOKIE_ATTRIBUTES = frozenset(["expires", "max-age", "secure", "httponly", "samesite", "partitioned", "priority"])
"""Attributes that a cookie keeps; `Path` is made anew, `Domain` is not for an endpoint to say."""

COOKIELESS = frozenset(["notebook", "tensorboard"])
"""Endpoints that need no cookies of their own: they get and set none at all."""


@dataclass(frozen=True)
class CookieRule:
    """The rule about which cookies belong to the inner application.

    `login` is the name of the outer server's login cookie; `path` is the endpoint's base URL, to which the inner
    application's cookies are confined; `allowed` is false for an endpoint that has none.
    """

    login: str
    path: str
    allowed: bool = True

    def inner(self, name: str) -> bool:
        """Return whether a cookie of this name may pass."""
        if not self.allowed or COOKIE_NAME.fullmatch(name) is None:
            return False
        bare = _bare(name)
        return bare != _bare(self.login) and not bare.startswith(OUTER_COOKIE_PREFIXES)


def _bare(name: str) -> str:
    """Return the cookie's name in lower case, without the prefixes that browsers know."""
    lower = name.lower()
    return lower[cast(re.Match[str], COOKIE_NAME_PREFIXES.match(lower)).end() :]


def confine_cookie(value: str, rule: CookieRule) -> str:
    """Return a `Set-Cookie` value whose cookie goes back to this endpoint only; empty if the cookie may not pass.

    Read as a browser reads it (RFC 6265bis 5.6), and made anew from what was read.
    """
    pair, *attributes = value.split(";")
    name, mark, content = (part.strip(BLANK) for part in pair.partition("="))
    if not mark or not rule.inner(name):
        return ""
    kept = [f"{name}={content}"]
    path = ""
    for attribute in attributes:
        key, _, given = (part.strip(BLANK) for part in attribute.partition("="))
        if key.lower() == "path":
            path = given
        elif key.lower() in COOKIE_ATTRIBUTES:
            kept.append(f"{key}={given}" if given else key)
    kept.append(f"Path={path if path.startswith(rule.path) else rule.path}")
    return "; ".join(kept)


def inner_cookies(header: str, rule: CookieRule) -> list[tuple[str, str]]:
    """Return names and values of the cookies in a `Cookie` field that may reach the inner application."""
    pairs = [part.strip().partition("=") for part in header.split(";")]
    return [(name.strip(), value) for name, mark, value in pairs if mark and rule.inner(name.strip())]
