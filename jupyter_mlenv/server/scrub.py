"""What may pass between a browser and a container: header, cookie and query rules. Pure.

Towards the container nothing passes that would let it act as the person on the outer server. Towards the browser
nothing passes that would change the outer server's state there (its cookies, its site-wide policies).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

Header = tuple[str, str]

HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Fields of one connection (RFC 9110 7.6.1), besides those that `Connection` names."""

NEVER_NAMED = frozenset(["host", "content-length", "content-type", "cookie", "origin"])
"""Fields that a `Connection` header cannot remove: dropping them would change what the request means."""

REPLACED = frozenset(["authorization", "expect", "forwarded", "x-real-ip", "x-scheme"])
"""Other request fields that are dropped, or made anew."""

CREDENTIAL_PREFIXES = (
    "x-forwarded-",
    "x-auth-request-",  # oauth2-proxy
    "x-amzn-oidc-",  # AWS load balancer
    "x-goog-iap-",  # Google IAP
    "cf-access-",  # Cloudflare Access
    "x-ms-token-",  # Azure App Service
)
"""Request fields in which a reverse proxy before the outer server may carry the person's tokens."""

OUTER_COOKIE_PREFIXES = (
    "username-",  # jupyter_server's login
    "_xsrf",
    "jupyterhub-",
    "jupyter-hub-",
    "_oauth2_proxy",
    "awselbauthsessioncookie",
    "cf_authorization",
    "cf_appsession",
    "gcp_iap",
    "gcp_iaap",
    "authelia_session",
    "authentik_proxy",
    "appserviceauthsession",
    "mod_auth_openidc_",
)
"""Cookies, in lower case, of the outer server, of the hub, and of the sign-on proxies people put before them."""

SECRET_ARGUMENTS = frozenset(["token", "_xsrf"])
"""Query arguments that belong to the outer server."""

SITE_WIDE = frozenset(
    ["clear-site-data", "strict-transport-security", "alt-svc", "nel", "report-to", "set-cookie2", "public-key-pins"]
)
"""Answer fields that act on the whole origin, which is the outer server's."""

COOKIELESS = frozenset(["notebook", "tensorboard"])
"""Endpoints that need no cookies of their own: they get and set none at all."""


@dataclass(frozen=True)
class CookieRule:
    """Which cookies belong to the inner application.

    `login` is the name of the outer server's login cookie; `path` is the endpoint's base URL, to which the inner
    application's cookies are confined; `allowed` is false for an endpoint that has none.
    """

    login: str
    path: str
    allowed: bool = True

    def inner(self, name: str) -> bool:
        """May a cookie of this name pass?"""
        lower = name.lower()
        return self.allowed and lower != self.login.lower() and not lower.startswith(OUTER_COOKIE_PREFIXES)


@dataclass(frozen=True)
class Client:
    """Who asks: the host and scheme in the browser's address bar, as far as the outer server knows them, and its IP."""

    host: str
    scheme: str
    address: str


def scrub_target(target: str) -> str:
    """The request target without the outer server's query arguments, otherwise byte for byte the same."""
    path, mark, query = target.partition("?")
    if not mark or not ("token" in query or "_xsrf" in query or "%" in query):
        return target
    parts = query.split("&")
    kept = [part for part in parts if unquote_plus(part.partition("=")[0]) not in SECRET_ARGUMENTS]
    if len(kept) == len(parts):
        return target
    return f"{path}?{'&'.join(kept)}" if kept else path


def connection_tokens(headers: Iterable[Header]) -> frozenset[str]:
    """The lower-case options of all `Connection` fields."""
    return frozenset(
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    )


def request_headers(headers: Sequence[Header], cookies: CookieRule, client: Client) -> list[Header]:
    """The fields that the container sees, without hop-by-hop fields; `X-Forwarded-*` are ours alone."""
    dropped = (connection_tokens(headers) - NEVER_NAMED) | HOP_BY_HOP
    kept: list[Header] = []
    inner_cookies: list[tuple[str, str]] = []
    maybe: list[Header] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "cookie":
            inner_cookies += _inner_cookies(value, cookies.inner)
        elif lower in ("x-xsrftoken", "x-csrftoken"):
            maybe.append((name, value))
        elif lower in dropped or lower in REPLACED or lower.startswith(CREDENTIAL_PREFIXES):
            continue
        elif lower == "referer":
            kept.append((name, scrub_target(value)))
        else:
            kept.append((name, value))
    if inner_cookies:
        kept.append(("Cookie", "; ".join(f"{name}={value}" for name, value in inner_cookies)))
    # An inner application's own double-submit token (Streamlit, Django) equals one of its own cookies.
    own = {value for _, value in inner_cookies}
    kept += [(name, value) for name, value in maybe if value in own]
    kept += [
        ("X-Forwarded-For", client.address),
        ("X-Forwarded-Host", client.host),
        ("X-Forwarded-Proto", client.scheme),
        ("X-Scheme", client.scheme),
    ]
    return kept


def response_headers(headers: Sequence[Header], cookies: CookieRule) -> list[Header]:
    """The fields that the browser sees, without hop-by-hop fields."""
    dropped = (connection_tokens(headers) - NEVER_NAMED) | HOP_BY_HOP | SITE_WIDE
    kept: list[Header] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "set-cookie":
            cookie = confine_cookie(value, cookies)
            if cookie:
                kept.append((name, cookie))
        elif lower == "service-worker-allowed":
            if value.startswith(cookies.path):
                kept.append((name, value))
        elif lower not in dropped:
            kept.append((name, value))
    return kept


def confine_cookie(value: str, cookies: CookieRule) -> str:
    """A `Set-Cookie` value whose cookie goes back to this endpoint only; empty if the cookie may not pass."""
    pair, *attributes = value.split(";")
    if not cookies.inner(pair.partition("=")[0].strip()):
        return ""
    kept = [pair.strip()]
    path = ""
    for attribute in attributes:
        name, _, given = attribute.strip().partition("=")
        if name.lower() == "path":
            path = given.strip()
        elif name and name.lower() != "domain":
            kept.append(attribute.strip())
    kept.append(f"Path={path if path.startswith(cookies.path) else cookies.path}")
    return "; ".join(kept)


def _inner_cookies(header: str, inner: Callable[[str], bool]) -> list[tuple[str, str]]:
    pairs = [part.strip().partition("=") for part in header.split(";")]
    return [(name, value) for name, mark, value in pairs if mark and inner(name.strip())]
