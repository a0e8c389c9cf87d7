"""The agents of running environments: how each is reached, remembered as long as its container runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from ..agent_client import AgentClient
from ..agent_client.routes import TcpRoute
from ..bounded_cache import BoundedCache
from ..container_layout import AGENT_PORT, LABEL, TOKEN_PATH
from ..engines.base import ContainerInfo, Engine
from ..errors import AgentUnreachable
from . import from_container, run_directory
from .model import Environment

MAX_AGENTS = 1024
"""Clients remembered at most; another one is made again."""

Run = tuple[str, datetime | None]
"""Container and time of its start: one agent's life."""


class Agents:
    """Clients of agents by environment.

    `settled(id)` waits for whoever is changing an environment, `inspect(id)` gives its container.
    """

    def __init__(
        self,
        engine: Engine,
        settled: Callable[[str], Awaitable[None]],
        inspect: Callable[[str], Awaitable[ContainerInfo]],
    ) -> None:
        self._engine = engine
        self._settled = settled
        self._inspect = inspect
        self._known: BoundedCache[str, tuple[Run, AgentClient]] = BoundedCache(MAX_AGENTS)

    async def get(self, environment: Environment) -> AgentClient:
        """The agent of an environment. Raises EnvironmentNotRunning, EnvironmentBusy and what `client` raises."""
        from_container.require_running(environment)
        run = (environment.container, environment.started)
        known = self._known.get(environment.id)
        # Another process may have made it anew, with another token, before its events got here.
        if known is None or known[0] != run:
            await self._settled(environment.id)
            known = run, await client(self._engine, await self._inspect(environment.id))
            self._known.put(environment.id, known)
        return known[1]

    def forget(self, id: str) -> None:
        """Drop the client of an environment whose container has ended, or is another one."""
        self._known.drop(id)

    def forget_all(self) -> None:
        """Drop all clients: the engine was away, so nothing is known any more."""
        self._known.drop_all()


async def client(engine: Engine, info: ContainerInfo) -> AgentClient:
    """A client for the agent of a running container.

    Raises EnvironmentFailed as `from_container.require_guarded` does, AgentUnreachable, MlenvError without its token.
    """
    from_container.require_guarded(info)
    run_dir = info.labels.get(f"{LABEL}.run", "")
    if run_dir:
        return run_directory.agent(run_dir)
    if AGENT_PORT not in info.ports:
        info = await engine.inspect(info.id)
    if AGENT_PORT not in info.ports:
        raise AgentUnreachable(
            "The engine publishes no port of the environment, by which it is reached.",
            hint="If it has just stopped, start it again. Else its network publishes none: see `network`.",
            details={"environment": info.labels.get(f"{LABEL}.id", info.name)},
        )
    facts = await engine.facts()
    token = (await engine.read_file(info.id, TOKEN_PATH)).decode("latin-1").strip()
    return AgentClient(TcpRoute(facts.publish_host, info.ports[AGENT_PORT]), token)
