"""Endpoints of running environments as routes: started by the agent on the first request, then remembered."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath

from .. import workspaces
from ..agent_client import AgentClient
from ..agent_client.routes import Route, UnixRoute
from ..bounded_cache import BoundedCache
from ..errors import EndpointNotFound, MlenvError, ServiceExited, ServiceTimeout
from ..presets.model import Endpoint
from ..urls import endpoint_url, is_port
from . import from_container, run_directory
from .model import Environment
from .turns import Told, Turns, unheard

MAX_ROUTES = 1024
"""Routes remembered at most: any port of an environment has one."""

PATIENCE_SECONDS = 30.0
"""Seconds after which a service that still starts hinders no other one; a JupyterLab takes 2 to 10."""

NO_PROCESS = re.compile(
    r"can't start new thread|no more processes and threads|(?i:resource temporarily unavailable)|Errno 11\b"
)
"""The words of Python, our agent and the system at the process limit."""

Key = tuple[str, str, str]
"""Environment id, endpoint name or port, the server's base URL."""


def service_key(endpoint: str, url: str) -> str:
    """The agent's name for a service: two servers with different base URLs get a service each."""
    return f"{endpoint}-{hashlib.sha256(url.encode()).hexdigest()[:10]}"


class Services:
    """Routes by environment, endpoint and base URL. Simultaneous first requests share one start."""

    def __init__(
        self,
        running: Callable[[str], Awaitable[Environment]],
        agent: Callable[[Environment], Awaitable[AgentClient]],
    ) -> None:
        self._running = running
        self._agent = agent
        self._routes: BoundedCache[Key, Route] = BoundedCache(MAX_ROUTES)
        self._starting: dict[Key, asyncio.Task[Route]] = {}
        self._turns = Turns(max(2, os.cpu_count() or 2), PATIENCE_SECONDS)

    def cached(self, id: str, endpoint: str, base_url: str) -> Route | None:
        """The route if it is known; no await, no engine call."""
        return self._routes.get((id, endpoint, base_url))

    def forget(self, id: str, endpoint: str = "", base_url: str = "") -> None:
        """Drop one route, or all of an environment."""
        if endpoint:
            self._routes.drop((id, endpoint, base_url))
        else:
            self._routes.drop_all(lambda key: key[0] == id)
            for key in [key for key in self._starting if key[0] == id]:
                del self._starting[key]  # it leads to a container that has ended

    def forget_all(self) -> None:
        """Drop every route: the engine was away, so nothing is known any more."""
        self._routes.drop_all()

    async def route(self, id: str, endpoint: str, base_url: str, told: Told = unheard) -> Route:
        """The route, after starting the service where needed, which waits until fewer others start.

        `told` hears how many are before it; not where somebody else has asked for the same already.

        Raises EnvironmentNotFound, EnvironmentNotRunning, EndpointNotFound, ServiceExited, ServiceTimeout,
        AgentUnreachable.
        """
        key = (id, endpoint, base_url)
        if (known := self._routes.get(key)) is not None:
            return known
        task = self._starting.get(key)
        if task is None:
            task = asyncio.create_task(self._start(key, told), name=f"mlenv-service-{id}-{endpoint}")
            self._starting[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        # One impatient client must not cancel the start that the others wait for.
        return await asyncio.shield(task)

    def _done(self, key: Key, task: asyncio.Task[Route]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if self._starting.get(key) is not task:
            return
        del self._starting[key]
        if not failed:
            self._routes.put(key, task.result())

    async def _start(self, key: Key, told: Told) -> Route:
        id, name, base_url = key
        environment = await self._running(id)
        from_container.require_running(environment)
        agent = await self._agent(environment)
        if name.isdecimal():
            return agent.tunnel(f"127.0.0.1:{_port(name)}")
        endpoint = _endpoint(environment, name)
        url = endpoint_url(base_url, id, name)
        try:
            async with self._turns.turn(told):
                service = await agent.services.start(
                    service_key(name, url),
                    command=list(endpoint.command),
                    base_url=url,
                    ready=endpoint.ready,
                    timeout=endpoint.timeout,
                    env=dict(endpoint.env),
                    cwd=environment.workspace,
                    variables={
                        "workspace": environment.workspace,
                        "logdir": workspaces.logdir(environment.workspace),
                    },
                )
        except (ServiceExited, ServiceTimeout) as error:
            raise _explained(error, environment, endpoint) from error
        if service.socket and environment.run_dir:
            return UnixRoute(f"{run_directory.inside(environment.run_dir)}/{PurePosixPath(service.socket).name}")
        if service.socket:
            return agent.tunnel(f"unix:{PurePosixPath(service.socket).name}")
        return agent.tunnel(f"127.0.0.1:{service.port}")


def _explained(error: ServiceExited | ServiceTimeout, environment: Environment, endpoint: Endpoint) -> MlenvError:
    """The error of an endpoint whose service does not run, with what to do."""
    id, log = environment.id, "\n".join(error.log)
    hint = endpoint.hint or f"Its log: jupyter mlenv logs {id}"
    more = f"jupyter mlenv start {environment.preset} --workspace '{environment.workspace}'"
    removes = "--recreate, which removes what was installed in it"
    if isinstance(error, ServiceTimeout):
        what = "did not answer in time"
    elif error.details.get("oom"):
        limit = error.details.get("memory_limit")
        what = "ran out of memory"
        what += f", of which the environment may use {limit >> 20} MiB" if isinstance(limit, int) else ""
        hint = f"Give it more in the preset (resources.memory), or with `{more} --memory SIZE {removes}`."
    elif NO_PROCESS.search(log):
        what = "could start no more processes or threads"
        hint = f"Give it more in the preset (resources.pids), then `{more} {removes}`. Or end what runs in there."
    else:
        what = "stopped as soon as it started"
    return type(error)(
        f"{endpoint.title} in {id} {what}.",
        hint=hint,
        details={**error.details, "environment": id, "endpoint": endpoint.name},
        log=error.log,
    )


def _port(text: str) -> str:
    if not is_port(text):
        raise EndpointNotFound(f"{text} is not a port.", hint="Ports are numbers from 1 to 65535.")
    return text


def _endpoint(environment: Environment, name: str) -> Endpoint:
    for endpoint in environment.endpoints:
        if endpoint.name == name:
            return endpoint
    names = ", ".join(endpoint.name for endpoint in environment.endpoints)
    raise EndpointNotFound(
        f'The environment {environment.id} has no endpoint "{name[:100]}".',
        hint=f"It has: {names}, or any port number.",
    )
