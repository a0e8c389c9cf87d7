"""The state that the proxied requests of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timezone

from ..agent_client import routes
from .login_cache import LOGIN_TTL_SECONDS, Logins
from .pool import Connect, Pool
from .service import Resolver
from .splice import Splices


class Proxy:
    """Connections, remembered logins and open splices of one server; `resolver` finds its services.

    `login_ttl` is how many seconds a login is remembered; 0 asks the identity provider every time. Traffic of the
    endpoints in `idle` is no use of the server.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        login_ttl: float = LOGIN_TTL_SECONDS,
        idle: Collection[str] = (),
        connect: Connect = routes.connect,
    ) -> None:
        self.resolver = resolver
        self.logins = Logins(login_ttl)
        self.pool = Pool(connect)
        self.activity: dict[str, datetime] = {}
        self._idle = frozenset(idle)
        self._splices, self._idle_splices = Splices(self._touch), Splices()

    def touch(self, endpoint: str) -> None:
        """Count a request as activity, so that an idle-culler does not stop the server under it."""
        if endpoint not in self._idle:
            self._touch()

    def splices(self, endpoint: str) -> Splices:
        """The splices of an endpoint: what a browser sends over one is activity too, or is not."""
        return self._idle_splices if endpoint in self._idle else self._splices

    def _touch(self) -> None:
        self.activity["mlenv"] = datetime.now(timezone.utc)

    async def close(self) -> None:
        """Close every connection and splice."""
        self.pool.close()
        await asyncio.gather(self._splices.close(), self._idle_splices.close())
