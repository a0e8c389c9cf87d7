"""The connections of one exchange to its service, which is started, and started again, as needed."""

from __future__ import annotations

from typing import Protocol

from ..agent_client.routes import Route
from ..errors import AgentUnreachable, EnvironmentFailed
from ..urls import EndpointAddress
from .connection import Connection
from .http1 import ProtocolError
from .pool import Pool


class Resolver(Protocol):
    """The part of `Environments` that the proxy needs: routes to services."""

    def cached_service(self, id: str, endpoint: str, base_url: str) -> Route | None: ...

    async def service(self, id: str, endpoint: str, base_url: str) -> Route: ...

    def forget_service(self, id: str, endpoint: str, base_url: str) -> None: ...


class Service:
    """A service at an endpoint, as a server with this base URL shows it."""

    def __init__(self, resolver: Resolver, pool: Pool, address: EndpointAddress, base_url: str) -> None:
        self._resolver, self._pool = resolver, pool
        self._id, self._endpoint, self._base_url = address.environment, address.endpoint, base_url

    async def connect(self, *, fresh: bool) -> Connection:
        """Return a connection, a new one if `fresh`. A service that refuses it is started again, once.

        Raises MlenvError.
        """
        route = self._resolver.cached_service(self._id, self._endpoint, self._base_url)
        if route is not None:
            try:
                return await self._pool.acquire(route, fresh=fresh)
            except (OSError, AgentUnreachable):
                self.forget()
        route = await self._resolver.service(self._id, self._endpoint, self._base_url)
        try:
            return await self._pool.acquire(route, fresh=fresh)
        except OSError as error:
            self.forget()
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> EnvironmentFailed:
        details = {"environment": self._id, "endpoint": self._endpoint}
        if self._endpoint.isdecimal():  # nobody starts what listens on a port of somebody's own
            return EnvironmentFailed(
                f"Nothing accepts connections on port {self._endpoint} in the environment {self._id}.",
                hint="Start the service in a terminal of the environment, on that port; then reload this page.",
                details=details,
            )
        return EnvironmentFailed(
            f"The service {self._endpoint} of the environment {self._id} does not accept connections: "
            f"{str(error).rstrip('.')}.",
            hint=f"Reload the page to start it again; `jupyter mlenv logs {self._id}` shows what it said.",
            details=details,
        )

    def forget(self) -> None:
        """Ask the environment again where the service is, before the next connection."""
        self._resolver.forget_service(self._id, self._endpoint, self._base_url)

    def broken(self, error: Exception) -> EnvironmentFailed:
        """Return the error of an exchange that this one ended."""
        what = f"did not answer in HTTP: {error}" if isinstance(error, ProtocolError) else "broke the connection off"
        return EnvironmentFailed(
            f"The service {self._endpoint} of the environment {self._id} {what}.",
            hint=f"Reload the page; if it stays, `jupyter mlenv logs {self._id}` shows what the service said.",
            details={"environment": self._id, "endpoint": self._endpoint},
        )
