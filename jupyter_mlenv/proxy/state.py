"""The state that the proxied requests of one server share."""

from __future__ import annotations

from datetime import datetime, timezone

from ..agent_client import routes
from .login_cache import LOGIN_TTL_SECONDS, Logins
from .pool import Connect, Pool
from .service import Resolver
from .splice import Splices


class Proxy:
    """Connections, remembered logins and open splices of one server; `resolver` finds its services.

    `login_ttl` is how many seconds a login is remembered; 0 asks the identity provider every time.
    """

    def __init__(
        self, resolver: Resolver, *, login_ttl: float = LOGIN_TTL_SECONDS, connect: Connect = routes.connect
    ) -> None:
        self.resolver = resolver
        self.logins = Logins(login_ttl)
        self.pool = Pool(connect)
        self.splices = Splices(self.touch)
        self.activity: dict[str, datetime] = {}

    def touch(self) -> None:
        """Count proxied traffic as activity, so that an idle-culler does not stop the server under it."""
        self.activity["mlenv"] = datetime.now(timezone.utc)

    async def close(self) -> None:
        """Close every connection and splice."""
        self.pool.close()
        await self.splices.close()
