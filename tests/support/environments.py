"""What the tests of whole environments on the real engine share: presets of their own, and looks from both sides."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.engines.base import Engine
from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments.job import Job
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.environments.model import Environment
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.planning.model import StartRequest
from tests.support.leftovers import connect
from tests.support.waiting import eventually

Named = Callable[[str, str], str]
"""The fixture that writes a preset: name and text in, whole name out."""

Settings = Callable[..., MlenvConfig]
"""The fixture that makes the configuration, as a person would have it, for this session; traits by name."""

Left = Callable[[], list[str]]
"""The fixture that tells what is on the engine and in the run root."""

ECHO = """
import json, os, sys, tornado.httpserver, tornado.ioloop, tornado.netutil, tornado.web, tornado.websocket

class Http(tornado.web.RequestHandler):
    def seen(self):
        headers = list(self.request.headers.get_all())
        self.write(json.dumps({"uri": self.request.uri, "headers": headers, "body": self.request.body.decode()}))
    def check_xsrf_cookie(self): pass
    get = post = put = delete = patch = seen

class Socket(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin): return True
    def open(self): self.write_message(json.dumps({"headers": list(self.request.headers.get_all())}))
    def on_message(self, message): self.write_message(message)

server = tornado.httpserver.HTTPServer(tornado.web.Application([(".*/ws", Socket), (".*", Http)]))
place = sys.argv[1]
if place.isdigit():
    server.listen(int(place), "127.0.0.1")
else:
    server.add_socket(tornado.netutil.bind_unix_socket(place, 0o600))
print("listening", flush=True)
tornado.ioloop.IOLoop.current().start()
"""
"""A program that answers with what it was sent, on a unix socket or on a port of the loopback."""

BOX = f"""
extends = "host"
title = "Box"
[resources]
memory = "600m"
cpus = 0.75
pids = 321
shm = "48m"
[endpoints.echo]
command = ["{{python}}", "-c", '''{ECHO}''', "{{socket}}"]
[endpoints.echoport]
command = ["{{python}}", "-c", '''{ECHO}''', "{{port}}"]
[endpoints.exits]
title = "Exits"
hint = "Mend it."
command = ["{{python}}", "-c", "print('the reason'); raise SystemExit(3)", "{{port}}"]
[endpoints.silent]
title = "Silent"
timeout = 1
command = ["{{python}}", "-c", "import time; print('still thinking', flush=True); time.sleep(600)", "{{port}}"]
"""
"""The `host` preset with limits, and services that echo, exit, and never listen."""


@asynccontextmanager
async def opened(config: MlenvConfig, engine: Engine | None = None) -> AsyncIterator[Environments]:
    """The use cases over the real engine; whatever they made is removed at the end."""
    environments = Environments(engine or config.engine(), config.settings(), Jobs())
    try:
        yield environments
    finally:
        await environments.jobs.close()
        for environment in await environments.list():
            await environments.remove(environment.id)
        await environments.close()


async def start(environments: Environments, preset: str, workspace: Path, **wishes: Any) -> tuple[Environment, Job]:
    """The environment once it runs, and the job that started it."""
    _, job = await environments.start(StartRequest(preset, str(workspace), **wishes))
    return await job.wait(), job


async def failure(environments: Environments, preset: str, workspace: Path, **wishes: Any) -> tuple[MlenvError, Job]:
    """Why a start failed, and the job that did."""
    _, job = await environments.start(StartRequest(preset, str(workspace), **wishes))
    with pytest.raises(MlenvError) as caught:
        await job.wait()
    assert job.to_json()["error"]["code"] == caught.value.code
    return caught.value, job


async def inside(environments: Environments, id: str, code: str, *, python: str = "python3") -> Any:
    """What `code` printed as JSON, run by this Python inside the environment."""
    agent = await environments.agent(id)
    output = b""
    async with await agent.exec([python, "-c", code]) as session:
        async for _, piece in session:
            output += piece
    assert session.exit_code == 0, output.decode()
    return json.loads(output)


def run_files(run_dir: str) -> list[str]:
    """The names in an environment's run directory and in the part of it that is mounted, each once, in order."""
    names = {*os.listdir(run_dir), *os.listdir(run_directory.inside(run_dir))}
    return sorted(names - {run_directory.INSIDE})


def lines_of(job: Job) -> list[str]:
    """The job's log."""
    return job.since(0)[1]


def inspected(id: str) -> dict[str, Any]:
    """What the engine says about an environment's container."""
    with closing(connect()) as client:
        found: dict[str, Any] = client.inspect_container(f"mlenv-{id}")
    return found


def by_hand(verb: str, id: str, *options: Any, **more: Any) -> None:
    """What somebody does to the container with the docker command line: `kill`, `pause`, `remove_container`, …"""
    with closing(connect()) as client:
        getattr(client, verb)(f"mlenv-{id}", *options, **more)


class Watch:
    """What a watcher of environments has been told so far."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def until(self, check: Callable[[dict[str, Any]], bool], what: str, after: int = 0) -> dict[str, Any]:
        """The first change from number `after` on that passes the check."""
        return await eventually(
            lambda: next((change for change in self.seen[after:] if check(change)), None), f"a watcher knows: {what}"
        )  # type: ignore[return-value]

    async def state(self, id: str, state: str, after: int = 0) -> dict[str, Any]:
        """The change that says that an environment is in this state."""
        return await self.until(
            lambda c: (
                c["type"] == "environment" and c["environment"]["id"] == id and c["environment"]["state"] == state
            ),
            f"{id} is {state}",
            after,
        )


@asynccontextmanager
async def watching(environments: Environments) -> AsyncIterator[Watch]:
    """A watcher that has had its snapshot."""
    watch = Watch()

    async def read() -> None:
        async with aclosing(environments.subscribe()) as changes:  # type: ignore[type-var]
            async for change in changes:
                watch.seen.append(change)

    task = asyncio.create_task(read())
    try:
        await watch.until(lambda change: change["type"] == "snapshot", "there is a snapshot")
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
