"""One exchange between a browser and a service, for the server's proxy and the command line's relay alike. Pure.

Both decide for themselves who may ask; what passes, and what an answer may do in the browser, is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import unquote

from . import headers as scrub
from . import redirects
from .credentials import UNTOLD, Credentials, may_hold_one, of_cookies
from .http1 import Head, Header, ProtocolError, checked, request_head, response_head

FRAMED_BY_SELF = "frame-ancestors 'self'"

SANDBOXED_FOLDERS = ("files", "nbconvert")
"""First parts of addresses at which a Jupyter server shows what a project holds, HTML and scripts too.

jupyter_server has sandboxed them since 1.0; where an older one runs inside, its pages would have the outer origin.
The page `view/` of the classic notebook is the server's own, and frames `files/`.
"""

SANDBOX = "sandbox allow-scripts"
"""As jupyter_server says it."""

NO_CONTENT = 204
BODILESS_STATUSES = (NO_CONTENT, 304)

_ADDRESSES = {"location": redirects.location, "refresh": redirects.refresh}
"""Fields with an address, and how it is repaired."""


@dataclass(frozen=True)
class Exchange:
    """The rules of one exchange with one endpoint.

    `target` is the browser's, `cookies.path` the endpoint's base URL; `at_root`: the service sees the target without
    it. `framed_by` is the policy on who may show an answer in a frame.
    `cross_origin`: the outer server's own settings let the asking page, of another origin, read answers. `credentials`
    are the outer server's own, besides those in cookies.
    """

    endpoint: str
    target: str
    cookies: scrub.CookieRule
    client: scrub.Client
    framed_by: str = FRAMED_BY_SELF
    cross_origin: bool = False
    credentials: Credentials = UNTOLD
    at_root: bool = False

    def request(self, method: str, headers: Sequence[Header], *, upgrade: bool = False, chunked: bool = False) -> bytes:
        """Return the head for the service. Raises ProtocolError if the request cannot be passed on as one."""
        own = self.credentials
        if "?" in self.target or may_hold_one(headers):
            own = replace(own, secrets=own.secrets | of_cookies(headers, self.cookies))
        kept = scrub.request_headers(headers, self.cookies, self.client, own)
        if upgrade:
            kept += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        elif chunked:
            kept.append(("Transfer-Encoding", "chunked"))
        try:
            target = "/" + self.target.removeprefix(self.cookies.path) if self.at_root else self.target
            return request_head(method, own.scrub_target(target), kept)
        except ValueError as error:
            raise ProtocolError(str(error)) from error

    def answer(self, head: Head) -> list[Header]:
        """Return the fields for the browser, all but those of framing and connection. Raises ProtocolError."""
        kept = scrub.response_headers(head.headers, self.cookies, cross_origin=self.cross_origin)
        kept = [(name, self._kept_below(name, value)) for name, value in kept]
        if head.status == NO_CONTENT or head.values("transfer-encoding"):
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
        # Several policies all count, so these hold whatever the service says.
        kept.append(("Content-Security-Policy", self.framed_by))
        if in_sandbox(self.endpoint, self.target.removeprefix(self.cookies.path)):
            kept.append(("Content-Security-Policy", SANDBOX))
        return checked(kept)

    def _kept_below(self, name: str, value: str) -> str:
        """A field's value, in which an address that leads to the service itself leads there from the browser too."""
        rule = _ADDRESSES.get(name.lower())
        if rule is None:
            return value
        return rule(value, self.cookies.path, redirects.own_hosts(self.client.host, self.endpoint))

    def switch(self, head: Head) -> bytes:
        """Return the head of a 101 for the browser. Raises ProtocolError."""
        kept = scrub.response_headers(head.headers, self.cookies)
        kept += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        return response_head(101, head.reason or "Switching Protocols", kept)


@lru_cache(maxsize=16)
def framing(policy: str) -> str:
    """Return the part of the outer server's own policy that is about frames."""
    return next((part.strip() for part in policy.split(";") if "frame-ancestors" in part), FRAMED_BY_SELF)


def in_sandbox(endpoint: str, rest: str) -> bool:
    """Return whether this address below the endpoint's shows project files, which must not run in the outer origin."""
    if endpoint != "notebook":
        return False
    return unquote(rest.partition("?")[0]).lstrip("/").partition("/")[0] in SANDBOXED_FOLDERS
