"""Admission to the proxy: the outer server's login, its authorization, and the request's origin; and its refusals."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, LegacyIdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from ..errors import MlenvError
from ..http_errors import as_error
from .credentials import Credentials
from .error_page import CONFIRM_POLICY, POLICY, confirm_page, error_page
from .login_cache import Login, Logins, login_key
from .open_link import opened
from .origin import OriginPolicy, needs_click, refusal


class AdmissionHandler(JupyterHandler):
    """A handler that asks for the right to `execute` on `mlenv` at every verb; subclasses call `admit` in `prepare`."""

    auth_resource = "mlenv"
    asks = False  # A person has to confirm this request first.
    onward = ""  # The address that the command line has sealed for the person.
    cross_origin = False  # The page that asks has an origin of its own, which the server's settings allow.

    async def admit(self, logins: Logins) -> None:
        """Raises web.HTTPError, which `refuse` answers."""
        key = login_key(self.request, self.identity_provider)
        login = logins.get(key)
        if login is None:
            await self._log_in()
            if not getattr(self, "_new_cookie", None):
                # A login that sets a cookie must set it for whoever asks next, too.
                logins.put(key, Login(self.current_user, self.token_authenticated))
        else:
            self.current_user = self._jupyter_current_user = login.user
            self._token_authenticated = login.by_token
        allowed = self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        if isinstance(allowed, Awaitable):
            allowed = await allowed
        if not allowed:
            raise web.HTTPError(403, "You are not authorized to use environments on this server.")
        policy = OriginPolicy(self.allow_origin, self.allow_origin_pat)
        method, headers = self.request.method or "", self.request.headers
        self.cross_origin = policy.lets_read(headers)
        if self.token_authenticated:
            return  # No other site can make a browser send the token.
        self.onward = opened(self.identity_provider.token, self.request.uri or "") if method == "GET" else ""
        self.asks = bool(self.onward) or needs_click(method, headers, self.request.query, policy)
        why = refusal(method, self.upgrades, headers, policy)
        if why:
            raise web.HTTPError(403, "Refused, because %s.", why)

    @property
    def credentials(self) -> Credentials:
        """The credentials of the outer server."""
        provider = self.identity_provider
        return Credentials(frozenset(filter(None, [provider.token])), told=_has_one_token(type(provider)))

    async def _log_in(self) -> None:
        await super().prepare(_redirect_to_login=False)
        if self.current_user is None:  # The server allows unauthenticated access in general; here it is not allowed.
            raise web.HTTPError(403, "You are not logged in.")

    def refuse(self, why: web.HTTPError) -> None:
        """Raise the refusal, or send a person who is not logged in to the login page."""
        if self.current_user is None and self.navigates:
            web.authenticated(lambda _: None)(self)
        else:
            raise why

    def check_xsrf_cookie(self) -> None:
        """Check nothing: inner applications do not know the outer server's token, so `admit` looks at the origin."""

    @property
    def navigates(self) -> bool:
        """Return whether a person's browser opens this as a page."""
        headers = self.request.headers
        if self.request.method not in ("GET", "HEAD") or self.upgrades:
            return False
        mode = headers.get("Sec-Fetch-Mode")
        return mode == "navigate" if mode else "text/html" in headers.get("Accept", "")

    @property
    def upgrades(self) -> bool:
        """Return whether this request asks for a WebSocket."""
        headers = self.request.headers
        return (
            headers.get("Upgrade", "").lower() == "websocket"
            and self.request.method == "GET"
            and "upgrade" in headers.get("Connection", "").lower()
        )

    def answer_error(self, error: MlenvError) -> None:
        """Answer with a page for a browser tab, or the error object for a program."""
        self.clear()
        super().set_default_headers()
        self.set_status(error.status)
        self.set_header("Cache-Control", "no-store")
        if "Expect" in self.request.headers:
            self.set_header("Connection", "close")
        if "text/html" in self.request.headers.get("Accept", "") and not self.upgrades:
            self.set_header("Content-Security-Policy", POLICY)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.write(error_page(error))
        else:
            self.write(error.to_json())

    def answer_question(self) -> None:
        """Answer with the page that asks whether to open this, or goes on by itself if the person has said so."""
        self.clear()
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", CONFIRM_POLICY)
        # By this the click is known over plain http; the service does not see the seal.
        self.set_header("Referrer-Policy", "origin" if self.onward else "same-origin")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(confirm_page(self.path_args[1], self.path_args[0], self.onward))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.answer_error(as_error(kwargs.get("exc_info", (None, None, None))[1], status_code))
        self.finish()

    def set_default_headers(self) -> None:
        """Set none: an answer has the fields that the service gave it."""


@lru_cache(maxsize=8)
def _has_one_token(provider: type[IdentityProvider]) -> bool:
    """Return whether the one token of a provider is all that it takes besides cookies, as that of jupyter_server."""
    own = (getattr(provider, name) for name in ("get_user", "get_token", "get_user_token"))
    return not issubclass(provider, LegacyIdentityProvider) and all(
        method.__module__ == IdentityProvider.__module__ for method in own
    )
