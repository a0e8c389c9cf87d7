"""What the proxied requests of one server share, and what they need to know of environments."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Protocol

from ..agent_client import routes
from ..agent_client.routes import Route
from .connection import Connect, Pool
from .login_cache import TTL, Logins
from .splice import Splices


class Resolver(Protocol):
    """What the proxy needs of `Environments`, which is `settings["mlenv"]`."""

    def cached_service(self, id: str, endpoint: str, base_url: str) -> Route | None: ...

    async def service(self, id: str, endpoint: str, base_url: str) -> Route: ...

    def forget_service(self, id: str, endpoint: str, base_url: str) -> None: ...


class Proxy:
    """What all proxied requests of one server share: connections, remembered logins, open splices.

    `login_ttl` is how many seconds a login is remembered; 0 asks the identity provider every time.
    """

    def __init__(self, *, login_ttl: float = TTL, connect: Connect = routes.connect) -> None:
        self.logins = Logins(login_ttl)
        self.pool = Pool(connect)
        self.splices = Splices(self.touch)
        self.activity: dict[str, datetime] = {}

    def touch(self) -> None:
        """Proxied traffic counts as activity, so that an idle-culler does not stop the server under it."""
        self.activity["mlenv"] = datetime.now(timezone.utc)

    async def close(self) -> None:
        """Close every connection and splice."""
        self.pool.close()
        await self.splices.close()
