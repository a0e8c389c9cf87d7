"""A storm: everything that can be done to environments at once, by two servers, the command line and kernels."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.kernels.kernel_error import KernelError
from jupyter_mlenv.planning.model import StartRequest, environment_id
from tests.support.kernels import Home, kernel, said
from tests.support.leftovers import connect

OPERATIONS = 52
"""At the same time, in each round."""

TIMEOUT_SECONDS = 240.0
"""Seconds for a round: one that takes longer has something in it that does not end."""

RAW = ("OCI runtime", "runc", "containerd", "Traceback")
"""What an engine says among its own, and no person should read."""


class Storm:
    """Rounds of operations on the environments of one preset in a few projects.

    Parameters
    ----------
    servers
        The use cases of several processes, of one owner.
    home
        The Jupyter home of kernels and of the command line, of the same owner.
    """

    def __init__(self, servers: Sequence[Environments], home: Home, preset: str, projects: Sequence[Path]) -> None:
        self.servers, self.home, self.preset, self.projects = servers, home, preset, projects
        self.kernel = home.add(preset)
        self.seen: Counter[str] = Counter()
        self.dice = random.Random(7)

    async def round(self) -> None:
        """All operations at once; then every job has ended, and there is one container for an id at most."""
        ways: list[Callable[[Environments, Path], Awaitable[object]]] = [
            *[self.start] * 12,
            *[self.stop] * 8,
            *[self.restart] * 8,
            *[self.remove] * 8,
            *[self.recreate] * 6,
            *[self.resume] * 3,
            *[self.command] * 4,
            *[self.notebook] * 3,
        ]
        assert len(ways) == OPERATIONS
        self.dice.shuffle(ways)
        works = [self.one(way, self.dice.choice(self.servers), self.dice.choice(self.projects)) for way in ways]
        tasks = [asyncio.create_task(work) for work in works]
        _, late = await asyncio.wait(tasks, timeout=TIMEOUT_SECONDS)
        for task in late:
            task.cancel()
        assert not late, f"{len(late)} operations have no end"
        for task in tasks:
            task.result()
        for server in self.servers:
            assert [job.to_json() for job in server.jobs.all() if job.state == "running"] == []
        twice = [id for id, count in Counter(containers(self.servers[0].settings.owner)).items() if count > 1]
        assert twice == []

    async def one(self, way: Callable[[Environments, Path], Awaitable[object]], server: Environments, at: Path) -> None:
        said, name = "", way.__name__
        try:
            await way(server, at)
        except (MlenvError, KernelError) as error:
            said, name = str(error), f"{name}: {type(error).__name__}"
        assert not [word for word in RAW if word in said], f"{name}: {said}"
        self.seen[name] += 1

    def id(self, server: Environments, at: Path) -> str:
        return environment_id(server.settings.owner, os.path.realpath(at), self.preset)

    async def start(self, server: Environments, at: Path) -> None:
        await (await server.start(StartRequest(self.preset, str(at))))[1].wait()

    async def recreate(self, server: Environments, at: Path) -> None:
        await (await server.start(StartRequest(self.preset, str(at), recreate=True)))[1].wait()

    async def resume(self, server: Environments, at: Path) -> None:
        await (await server.resume(self.id(server, at)))[1].wait()

    async def restart(self, server: Environments, at: Path) -> None:
        await (await server.restart(self.id(server, at)))[1].wait()

    async def stop(self, server: Environments, at: Path) -> None:
        await server.stop(self.id(server, at))

    async def remove(self, server: Environments, at: Path) -> None:
        await server.remove(self.id(server, at))

    async def command(self, server: Environments, at: Path) -> None:
        """`jupyter mlenv`, in a process of its own."""
        words = self.dice.choice(
            [["start", self.preset], ["restart"], ["stop"], ["rm", "--yes"], ["start", self.preset, "--recreate"]]
        )
        words = words if words[0] == "start" else [*words, self.id(server, at)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyter_mlenv.cli", *words),
            cwd=at,
            env=os.environ | dict(self.home.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
        assert not [word for word in RAW if word in output], output
        assert process.returncode in (0, 1, 130), output

    async def notebook(self, server: Environments, at: Path) -> None:
        """A kernel by the provisioner; its environment may be gone at any moment, and then it says so or dies."""
        try:
            async with kernel(self.kernel, at) as (_, client):
                await said(client, "1 + 1", timeout=20)
        except (RuntimeError, TimeoutError) as error:
            self.seen[f"notebook: {type(error).__name__}"] += 1


def containers(owner: str) -> list[str]:
    """The environment's id of each container of this owner."""
    with closing(connect()) as client:
        rows = client.containers(all=True, filters={"label": f"{LABEL}.owner={owner}"})
    return [row["Labels"].get(f"{LABEL}.id", "") for row in rows]
