"""An asynchronous identity provider and authorizer, for a test's server."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.auth import Authorizer, IdentityProvider, User


class HeaderIdentityProvider(IdentityProvider):
    """Whoever the header `Remote` says."""

    async def get_user(self, handler: Any) -> User | None:  # type: ignore[override]
        await asyncio.sleep(0)
        name = handler.request.headers.get("Remote")
        return User(name) if name else None


class OnlyAlice(Authorizer):
    """Alice may execute, unless the request's header `Forbid` is there."""

    async def is_authorized(self, handler: Any, user: User, action: str, resource: str) -> bool:
        await asyncio.sleep(0)
        allowed = user.username == "alice" and "Forbid" not in handler.request.headers
        return allowed and (action, resource) == ("execute", "mlenv")


class Lookers(Authorizer):
    """Everybody may do everything, but with the header `Look` only read of `mlenv`."""

    async def is_authorized(self, handler: Any, user: User, action: str, resource: str) -> bool:
        await asyncio.sleep(0)
        return (resource, action) == ("mlenv", "read") or resource != "mlenv" or "Look" not in handler.request.headers
