"""The version of Jupyter in a running environment: asked once in its life, to warn of an old one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import safe_versions
from ..bounded_cache import BoundedCache
from ..errors import MlenvError
from .model import Environment, State

if TYPE_CHECKING:
    from ..agent_client import AgentClient

ENDPOINT = "notebook"
"""The endpoint whose start is the time to ask: only pages of a Jupyter can do harm."""

ANSWER_TIMEOUT_SECONDS = 20.0
"""The time for the answer: a Python that looks at the packages it has."""

MAX_ENVIRONMENTS = 1024
"""Environments whose answer is remembered; another one is asked again."""

MAX_ANSWER_BYTES = 4096
_ASK = f"""
import json
try:
    from importlib.metadata import PackageNotFoundError, version
except ImportError:
    raise SystemExit
found = {{}}
for name in {list(safe_versions.FLOORS)!r}:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


async def versions(agent: AgentClient, python: str, cwd: str) -> dict[str, str]:
    """Versions by package name, of those that have a floor; empty where nobody answers, or nonsense.

    It is a container's word: good for a warning, and for nothing else.
    """
    said = b""

    async def ask() -> None:
        nonlocal said
        async with await agent.exec([python, "-c", _ASK], cwd=cwd) as session:
            async for _, piece in session:
                said += piece[:MAX_ANSWER_BYTES]
                if len(said) >= MAX_ANSWER_BYTES:
                    return

    with suppress(MlenvError, OSError, asyncio.TimeoutError, ValueError, RecursionError):
        await asyncio.wait_for(ask(), ANSWER_TIMEOUT_SECONDS)
        found = json.loads(said)
        if isinstance(found, dict):
            return {
                name: text for name, text in found.items() if name in safe_versions.FLOORS and isinstance(text, str)
            }
    return {}


class JupyterVersions:
    """Warnings by environment, of this process. `changed(id)` is awaited when there is a new one."""

    def __init__(
        self,
        running: Callable[[str], Awaitable[Environment]],
        agent: Callable[[str], Awaitable[AgentClient]],
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._running, self._agent, self._changed = running, agent, changed
        self._known: BoundedCache[str, tuple[str, ...]] = BoundedCache(MAX_ENVIRONMENTS)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def warnings(self, id: str) -> tuple[str, ...]:
        """The warnings that are known by now."""
        return self._known.get(id) or ()

    def look(self, id: str) -> None:
        """Ask in the background, unless it is known."""
        if self._known.get(id) is None and id not in self._tasks:
            task = asyncio.create_task(self._look(id), name=f"mlenv-inside-{id}")
            self._tasks[id] = task
            task.add_done_callback(lambda done: self._tasks.get(id) is done and self._tasks.pop(id))

    def forget(self, id: str) -> None:
        """Drop the answer of an environment whose container has ended, or is another one."""
        self._known.drop(id)
        if (task := self._tasks.pop(id, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, id: str) -> None:
        with suppress(MlenvError):  # it has gone meanwhile
            environment = await self._running(id)
            if environment.state is State.RUNNING:
                agent = await self._agent(id)
                said = safe_versions.sentence(await versions(agent, environment.python, environment.workspace))
                self._known.put(id, (said,) if said else ())
                if said:
                    await self._changed(id)
