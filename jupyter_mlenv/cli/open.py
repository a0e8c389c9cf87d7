"""`open`: an endpoint of an environment in the browser, through a running Jupyter server or without one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import html
import json
import os
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ..environments.model import Environment, State
from ..errors import EndpointNotFound, MlenvError
from ..proxy.open_link import sealed
from ..urls import app_url, endpoint_url, is_port
from . import arguments as usage
from . import output
from .command import Command, add_ids, add_json, find, follow

if TYPE_CHECKING:
    from ..environments import Environments

SERVER_TIMEOUT_SECONDS = 3.0
"""Seconds that a Jupyter server of this machine gets to say whether it knows the environment."""

BROWSER_READS_SECONDS = 2.0
"""Seconds that a browser gets to read the address from its file before this program ends."""


class OpenCommand(Command):
    name = "jupyter-mlenv-open"
    description = """\
Open JupyterLab, TensorBoard or any port of an environment in the browser. A running Jupyter server of yours that has
the extension is used; without one, this command serves it itself, to this machine only, until Ctrl-C."""
    examples = """\
  jupyter mlenv open python
  jupyter mlenv open python tensorboard
  jupyter mlenv open python --no-browser --port 8899"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser)
        parser.add_argument(
            "endpoint", metavar="ENDPOINT", nargs="?", default="", help="notebook (the default), tensorboard, a port, …"
        )
        parser.add_argument("--no-browser", action="store_true", help="only print the address")
        parser.add_argument(
            "--port", metavar="N", type=usage.port, default=None, help="serve it on this port, without a Jupyter server"
        )
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            (environment,) = await find(environments, [args.id])
            endpoint, page = choose(environment, args.endpoint)
            if environment.state is not State.RUNNING:
                _, job = await environments.resume(environment.id)
                environment = await follow(job, quiet=args.json)
            server = await find_server(environment.id, self.runtime_dir) if args.port is None else None
            if server is not None:
                async with shown(server_url(server, environment.id, endpoint, page), args, self.runtime_dir):
                    await asyncio.sleep(0 if args.no_browser else BROWSER_READS_SECONDS)
                return 0
            return await self._serve(environments, environment.id, endpoint, page, args)

    async def _serve(
        self, environments: Environments, id: str, endpoint: str, page: str, args: argparse.Namespace
    ) -> int:
        from ..proxy import headers as scrub  # noqa: PLC0415
        from ..proxy.local_server import LocalServer, new_secret  # noqa: PLC0415

        secret = new_secret()

        async def connect() -> socket.socket:
            from ..agent_client.routes import connect as connect_route  # noqa: PLC0415

            route = await environments.service(id, endpoint, secret)
            try:
                return await connect_route(route)
            except OSError:
                # It ended since: the agent starts it again.
                environments.forget_service(id, endpoint, secret)
                return await connect_route(await environments.service(id, endpoint, secret))

        cookies = scrub.CookieRule("", address(secret, id, endpoint), endpoint not in scrub.COOKIELESS)
        server = LocalServer(secret, cookies, connect, at_root=is_port(endpoint))
        try:
            try:
                port = await server.start(args.port or 0)
            except OSError as error:
                raise MlenvError(
                    f"Port {args.port} cannot be used: {os.strerror(error.errno or 0)}.",
                    hint="Choose another one, or leave out --port to get a free one.",
                ) from error
            output.write(f"Starting {endpoint} …", style="dim", stream=sys.stderr)
            await environments.service(id, endpoint, secret)
            url = f"http://127.0.0.1:{port}" + address(secret, id, endpoint) + page
            async with shown(url, args, self.runtime_dir):
                output.write("Press Ctrl-C to stop serving it. The environment goes on running.", stream=sys.stderr)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        finally:
            await server.close()
            await _stop_service(environments, id, endpoint, secret)
        return 0


def choose(environment: Environment, name: str) -> tuple[str, str]:
    """The endpoint's name or port, and the page below its base URL. Raises EndpointNotFound."""
    names = [endpoint.name for endpoint in environment.endpoints]
    if not name and names:
        name = "notebook" if "notebook" in names else names[0]
    for endpoint in environment.endpoints:
        if endpoint.name == name:
            return name, endpoint.open
    if is_port(name):
        return name, ""
    guess = usage.nearest(name, names)
    said = f"{environment.id} has no endpoint {name!r}." if name else f"{environment.id} has no endpoints."
    raise EndpointNotFound(
        said + (f" Did you mean {guess!r}?" if guess else ""),
        hint=f"It has: {', '.join(names) or 'none'}. A port number is possible too.",
    )


def address(base_url: str, id: str, endpoint: str) -> str:
    """The path at which a browser has an endpoint; what listens on a port is taken to know of no prefix."""
    return (app_url if is_port(endpoint) else endpoint_url)(base_url, id, endpoint)


def server_url(server: dict[str, Any], id: str, endpoint: str, page: str) -> str:
    """Return the address of an endpoint on a Jupyter server.

    By way of its login page, as Jupyter's own address has the token: the container behind the proxy never sees it.
    """
    target = sealed(server.get("token") or "", address(server["base_url"], id, endpoint) + page)
    if not server.get("token"):
        parts = urlsplit(server["url"])
        return f"{parts.scheme}://{parts.netloc}{target}"
    return f"{server['url']}login?" + urlencode({"next": target, "token": server["token"]})


def running_servers(runtime_dir: str) -> list[dict[str, Any]]:
    """The Jupyter servers of this person that listen on TCP, as they describe themselves in `ServerApp.info_file`.

    As `jupyter_server.serverapp.list_running_servers`, without the 1.6 s that importing it takes.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(Path(runtime_dir).glob("jpserver-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):  # just being written, or its server has gone
            server = json.loads(path.read_text("utf-8"))
            os.kill(server["pid"], 0)
            if urlsplit(server["url"]).scheme in ("http", "https"):
                found.append(server)
    return found


async def find_server(id: str, runtime_dir: str) -> dict[str, Any] | None:
    """A running Jupyter server of this person that knows the environment; None if there is none."""
    servers = await asyncio.to_thread(running_servers, runtime_dir)
    if not servers:
        return None
    import aiohttp  # noqa: PLC0415
    from yarl import URL  # noqa: PLC0415

    # A certificate of one's own making is usual for a Jupyter server, and we only speak to this machine.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=SERVER_TIMEOUT_SECONDS), connector=aiohttp.TCPConnector(ssl=False)
    ) as client:
        for server in servers:
            token = server.get("token")
            headers = {"Authorization": f"token {token}"} if token else {}
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                # `encoded`: a `%40` in a base URL must stay one.
                url = URL(f"{server['url']}mlenv/api/environments/{id}", encoded=True)
                async with client.get(url, headers=headers, allow_redirects=False) as answer:
                    if answer.status == 200:
                        return dict(server)
    return None


@asynccontextmanager
async def shown(url: str, args: argparse.Namespace, runtime_dir: str) -> AsyncIterator[None]:
    """Print the address and open the browser, for as long as the block runs.

    The browser gets a file to read it from: the arguments of a program are visible to everybody on the machine. As in
    jupyter_server's `ServerApp.use_redirect_file`.
    """
    if args.json:
        output.write_json({"url": url})
        sys.stdout.flush()
    else:
        output.write(url)
    if args.no_browser:
        yield
        return
    file = Path(runtime_dir, f"mlenv-{os.getpid()}-open.html")
    try:
        _write_redirect(file, url)
        # In a thread, since a browser in the terminal returns only when it is closed.
        opening = asyncio.create_task(asyncio.to_thread(webbrowser.open, file.as_uri(), new=2))
        opening.add_done_callback(_tell_if_none)
        yield
    finally:
        os.unlink(file)


def _write_redirect(file: Path, url: str) -> None:
    target = html.escape(url, quote=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        opened.write(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">')
        opened.write(f'<a href="{target}">Open</a>')


def _tell_if_none(opening: asyncio.Task[bool]) -> None:
    if not opening.cancelled() and (opening.exception() or not opening.result()):
        output.write("No browser could be opened here: open the address above yourself.", stream=sys.stderr)


async def _stop_service(environments: Environments, id: str, endpoint: str, secret: str) -> None:
    """Nothing may be left of what only this command could reach; an environment that is gone has nothing."""
    from ..environments.endpoints import service_key  # noqa: PLC0415

    if is_port(endpoint):
        return
    with contextlib.suppress(MlenvError, OSError):
        agent = await environments.agent(id)
        await agent.services.stop(service_key(endpoint, endpoint_url(secret, id, endpoint)))
