"""The rules about what passes between a browser and a container: headers, cookies and queries. Pure.

Towards the container nothing passes that would let it act as the person on the outer server. Towards the browser
nothing passes that would change the outer server's state there (its cookies, its site-wide policies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from .cookies import COOKIELESS, CookieRule, confine_cookie, inner_cookies
from .credentials import UNTOLD, Credentials
from .http1 import Header, options

__all__ = [
    "COOKIELESS",
    "Client",
    "CookieRule",
    "confine_cookie",
    "request_headers",
    "response_headers",
]

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

REPLACED = frozenset(["cookie2", "expect", "forwarded", "x-real-ip", "x-scheme"])
"""Other request fields that are dropped, or made anew."""

CREDENTIAL_PREFIXES = (
    "cf-access-",  # Cloudflare Access
    "client-cert",  # RFC 9440
    "oidc-",  # mod_auth_openidc
    "remote-",  # Authelia, Traefik
    "saml-",
    "shib-",  # Shibboleth
    "ssl-client-",
    "tailscale-",
    "teleport-",
    "x-access-token",
    "x-amzn-oidc-",  # AWS load balancer
    "x-appengine-",
    "x-auth-",  # oauth2-proxy, traefik-forward-auth, Keycloak's gatekeeper
    "x-authenticated-",
    "x-authentik-",
    "x-authorization",
    "x-client-cert",
    "x-email",
    "x-forwarded-",
    "x-goog-",  # Google IAP
    "x-groups",
    "x-id-token",
    "x-identity",
    "x-jwt",
    "x-ms-client-principal",  # Azure App Service
    "x-ms-token-",
    "x-oidc-",
    "x-original-",  # nginx's auth_request: the outer address with its query
    "x-pomerium-",
    "x-refresh-token",
    "x-remote-",
    "x-rewrite-url",
    "x-ssl-",
    "x-tailscale-",
    "x-token",
    "x-user-",
    "x-userinfo",
    "x-username",
    "x-vouch-",
    "x-webauth-",
)
"""Request fields, `_` written as `-`, in which a sign-on proxy may carry the person's name and tokens."""

CREDENTIALS = frozenset(["x-user", "x-auth", "x-roles"])
"""The same, whole names."""

NO_CREDENTIALS = frozenset(["x-user-agent"])  # gRPC in browsers

FORWARDED = frozenset(f"x-forwarded-{what}" for what in ("for", "host", "port", "prefix", "proto", "server", "ssl"))
"""Fields of any reverse proxy, which tell of no sign-on."""

ORIGIN_WIDE = frozenset(
    [
        "activate-storage-access",
        "alt-svc",
        "clear-site-data",
        "expect-ct",
        "idp-signin-status",
        "nel",
        "observe-browsing-topics",
        "origin-agent-cluster",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "set-cookie2",
        "set-login",
        "speculation-rules",
        "strict-transport-security",
        "timing-allow-origin",
        "use-as-dictionary",
        "www-authenticate",
        "authentication-info",
    ]
)
"""Answer fields that act on more than the answer: on the origin, which is the outer server's, or on the browser.

`WWW-Authenticate` asks for a password under the outer server's name. `Service-Worker-Allowed` widens a worker's scope,
which without it is the script's own folder, so within the endpoint. `Refresh`, `Location`, `Link` and the policies of
one document stay: they do what the page itself can do.
"""

ORIGIN_WIDE_PREFIXES = (
    "accept-ch",  # client hints are remembered for the origin
    "access-control-",  # who else may read: `cross_origin`
    "ad-auction-",
    "attribution-reporting-",
    "critical-ch",
    "proxy-",
    "public-key-pins",
    "sec-",  # protocols between a browser and an origin, as Sec-Session-*; a WebSocket's are needed
    "secure-session-",
    "shared-storage-",
)

PROXY_COMMAND_PREFIXES = (
    "cdn-",
    "edge-control",
    "surrogate-",
    "x-accel-",  # nginx: X-Accel-Redirect has it serve another of its addresses
    "x-envoy-",
    "x-lighttpd-",
    "x-litespeed-",
    "x-lscache",
    "x-lsadc-",
    "x-reproxy-",
    "x-send-file",
    "x-sendfile",  # Apache and others: serve a file of the host
)
"""Answer fields, `_` written as `-`, by which a service tells a reverse proxy before it what to do."""


@dataclass(frozen=True)
class Client:
    """The one who asks: host and scheme in the browser's address bar, as far as the outer server knows, and its IP."""

    host: str
    scheme: str
    address: str


@lru_cache(maxsize=4096)
def _kind(name: str) -> str:
    """Return what is done with a request field of this name: one of the kinds that `request_headers` knows."""
    lower = name.lower()
    plain = lower.replace("_", "-")
    if lower == "cookie":
        return "cookie"
    if lower in ("x-xsrftoken", "x-csrftoken"):
        return "double"
    if lower in ("referer", "authorization"):
        return lower
    if lower in HOP_BY_HOP or plain in REPLACED or plain in FORWARDED:
        return "drop"
    if plain in CREDENTIALS or (plain.startswith(CREDENTIAL_PREFIXES) and plain not in NO_CREDENTIALS):
        return "sign-on"
    return "keep"


def request_headers(
    headers: Sequence[Header], cookies: CookieRule, client: Client, credentials: Credentials = UNTOLD
) -> list[Header]:
    """Return the fields that the container sees, without hop-by-hop fields; `X-Forwarded-*` are ours alone.

    `credentials`: the outer server's own, those in the request's cookies among them.
    """
    dropped = options(headers, "connection") - NEVER_NAMED
    kept: list[Header] = []
    own_cookies: list[tuple[str, str]] = []
    signed_on = False
    authorization: list[Header] = []
    for name, value in headers:
        kind = _kind(name)
        if kind == "cookie":
            own_cookies += inner_cookies(value, cookies)
        elif kind == "sign-on":
            signed_on = True
        elif kind == "drop" or name.lower() in dropped:
            continue
        elif kind == "authorization":
            authorization.append((name, value))
        elif kind == "double":
            # Worth something only beside the cookie with the same value, and the outer server's cookies are known.
            if not credentials.secrets & {value, unquote(value)}:
                kept.append((name, value))
        elif kind == "referer":
            kept.append((name, credentials.scrub_target(value)))
        else:
            kept.append((name, value))
    if own_cookies:
        kept.append(("Cookie", "; ".join(f"{name}={value}" for name, value in own_cookies)))
    if not signed_on:  # a sign-on proxy may send on a token of its own there
        kept += [(name, value) for name, value in authorization if credentials.pass_authorization(value)]
    kept += [
        ("X-Forwarded-For", client.address),
        ("X-Forwarded-Host", client.host),
        ("X-Forwarded-Prefix", cookies.path.rstrip("/")),
        ("X-Forwarded-Proto", client.scheme),
        ("X-Scheme", client.scheme),
    ]
    return kept


_REFERRER = {"no-referrer": "same-origin"}


@lru_cache(maxsize=4096)
def _passes(name: str) -> bool:
    """Return whether an answer may have a field of this name."""
    lower = name.lower()
    plain = lower.replace("_", "-")
    if lower in HOP_BY_HOP or plain in ORIGIN_WIDE or plain.startswith(PROXY_COMMAND_PREFIXES):
        return False
    return not plain.startswith(ORIGIN_WIDE_PREFIXES) or plain.startswith("sec-websocket-")


def response_headers(headers: Sequence[Header], cookies: CookieRule, *, cross_origin: bool = False) -> list[Header]:
    """Return the fields that the browser sees, without hop-by-hop fields.

    `cross_origin`: the outer server's own settings let the asking origin read answers, so the service's word on that
    counts, too.
    """
    dropped = options(headers, "connection") - NEVER_NAMED
    kept: list[Header] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "set-cookie":
            cookie = confine_cookie(value, cookies)
            if cookie:
                kept.append((name, cookie))
        elif lower in dropped:
            continue
        elif lower == "referrer-policy":
            # Requests without a Referer could come from anywhere, and are refused over plain http.
            kept.append((name, ", ".join(_REFERRER.get(part.strip(), part.strip()) for part in value.split(","))))
        elif _passes(name) or (cross_origin and lower.startswith("access-control-")):
            kept.append((name, value))
    return kept
