"""The way to one engine: connected on first use, dropped when it stops answering, connected again."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...errors import EnginePermission, EngineUnavailable, MlenvError
from ...workers import Workers
from ..base import EngineFacts
from . import own_container
from .connection import GREETING_TIMEOUT_SECONDS, QUESTION_TIMEOUT_SECONDS, Connection, connect, within
from .dialect import PODMAN, Dialect, is_podman
from .endpoint import EngineEndpoint, find_endpoint
from .errors import is_foreign, translate
from .own_container import OwnContainer
from .threads import stream

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")


class Session:
    """Runs blocking calls and streams against one engine, and translates what goes wrong. See `DockerEngine`."""

    def __init__(
        self,
        url: str | None,
        *,
        threads: int,
        shares_filesystem: bool | None,
        builder: Literal["auto", "buildkit", "classic"],
        publish_host: str,
        dialect: Dialect,
    ) -> None:
        self._dialect = dialect
        self._url = url
        self._shares_filesystem = shares_filesystem
        self._builder = builder
        self._publish_host = publish_host
        self._workers = Workers(threads, "mlenv-docker")
        self._asking: asyncio.Future[EngineFacts] | None = None
        self._connection: Connection | None = None
        self._endpoint: EngineEndpoint | None = None
        self._facts: EngineFacts | None = None
        self._streams: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.swap_accounting = False
        self.data_dir = ""
        self.own: OwnContainer | None = None
        self.closed = asyncio.Event()

    def origin(self) -> str:
        """The origin of the engine's address."""
        try:
            return find_endpoint(self._url, os.environ).origin
        except EngineUnavailable:
            return "the docker configuration"

    async def facts(self) -> EngineFacts:
        """Asked once per connection."""
        if self._facts is not None:
            return self._facts
        self._check_open()
        if self._asking is None:
            # One question for all who wait: an engine that is silent would else be waited for by one after the other.
            self._asking = asyncio.ensure_future(self._workers.run(self._ask))
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, asking: asyncio.Future[EngineFacts]) -> None:
        self._asking = None
        if not asking.cancelled() and asking.exception() is None:
            self._facts = asking.result()

    def _check_open(self) -> None:
        if self.closed.is_set():
            raise EngineUnavailable("The connection to the container engine is closed.", hint="Start Jupyter again.")

    async def call(
        self,
        work: Callable[[APIClient], T],
        *,
        image: str = "",
        container: str = "",
        question: bool = False,
        finish: bool = False,
        undo: Callable[[APIClient, T], object] | None = None,
    ) -> T:
        """Run `work(client)` in a thread; see `Workers.run` for `finish` and `undo`, `translate` for the names.

        `question`: it changes nothing, and an engine that does not answer soon will not answer at all.
        """
        self._check_open()
        await self.facts()
        connection = self._connected()

        def run() -> T:
            try:
                with within(QUESTION_TIMEOUT_SECONDS if question else None):
                    return work(connection.client)
            except Exception as error:
                raise self._translated(error, image=image, container=container) from error

        def back(result: T) -> None:
            if undo is not None:
                undo(connection.client, result)

        try:
            return await self._workers.run(run, finish=finish, undo=back if undo else None)
        except (EngineUnavailable, EnginePermission):
            self.forget()
            raise

    async def stream(
        self, read: Callable[[Connection], Iterator[T]], *, image: str = "", container: str = ""
    ) -> AsyncGenerator[T, None]:
        """The items of `read(connection)`, over a connection of its own that ends with the generator."""
        self._check_open()
        await self.facts()
        endpoint, version = self._found(), self._connected().client.api_version

        def open_one() -> Connection:
            return connect(endpoint, version=version, timeout=None, opened=self._opened)

        try:
            async with aclosing(stream(open_one, read)) as items:
                async for item in items:
                    yield item
        except (EngineUnavailable, EnginePermission):
            self.forget()
            raise
        except Exception as error:
            translated = self._translated(error, image=image, container=container)
            if isinstance(translated, (EngineUnavailable, EnginePermission)):
                self.forget()
            raise translated from error

    def forget(self) -> None:
        """The engine does not answer: ask it who it is when it does again, it may be another version by then."""
        self._connection = None
        self._facts = None

    def close(self) -> None:
        """Cut everything that is under way, so that no thread outlives its purpose."""
        self.closed.set()
        for connection in list(self._streams):  # its thread closes it
            connection.cut()
        if self._connection is not None:
            self._connection.close()
        self._workers.close()

    def _opened(self, connection: Connection) -> None:
        self._streams.add(connection)
        if self.closed.is_set():
            connection.cut()

    def _translated(self, error: Exception, *, image: str = "", container: str = "") -> Exception:
        """The error to raise instead; a bug of ours stays what it is."""
        if isinstance(error, MlenvError) or not is_foreign(error):
            return error
        return translate(error, self._found(), image=image, container=container)

    def _found(self) -> EngineEndpoint:
        if self._endpoint is None:
            self._endpoint = find_endpoint(self._url, os.environ)
        return self._endpoint

    def _connected(self) -> Connection:
        if self._connection is None:
            raise EngineUnavailable("The engine was lost a moment ago.", hint="Try again.")
        return self._connection

    def _ask(self) -> EngineFacts:
        """In a thread: connect, and ask who it is and what it can."""
        self._endpoint = None  # a context may have been switched since
        endpoint = self._found()
        try:
            with within(GREETING_TIMEOUT_SECONDS):
                wanted = os.environ.get("DOCKER_API_VERSION") or "auto"
                connection = connect(endpoint, version=wanted, opened=self._opened)
                product, number = _product(connection)
                self._dialect.check(product, number, endpoint.url)
            with within(QUESTION_TIMEOUT_SECONDS):
                info = connection.client.info()
                self.own = _own_container(connection.client)
        except Exception as error:
            raise self._translated(error) from error
        self._connection = connection
        self.swap_accounting = bool(info.get("SwapLimit"))
        root = str(info.get("DockerRootDir") or "")
        self.data_dir = root if os.path.isdir(root) else ""
        return self._facts_from(endpoint, connection.client.api_version, number, info)

    def _facts_from(self, endpoint: EngineEndpoint, api: str, version: str, info: dict[str, Any]) -> EngineFacts:
        shares = self._shares_filesystem
        if shares is None:
            shares = self.own is not None or shares_filesystem(endpoint, info)
        security: list[str] = info.get("SecurityOptions") or []
        modern = tuple(int(part) for part in api.split(".")[:2]) >= (1, 39)  # BuildKit without experimental mode
        facts = EngineFacts(
            kind=self._dialect.kind,
            version=version,
            url=endpoint.url,
            os=str(info.get("OSType") or "linux"),
            architecture=str(info.get("Architecture") or platform.machine()),
            shares_filesystem=shares,
            publish_host=self._publish_host or endpoint.host(),
            buildkit=modern and self._builder != "classic",
            rootless=any("rootless" in option for option in security),
            container=self.own.id if self.own else "",
            user_map=any("userns" in option for option in security),
            ignored=tuple(field for field, key in _ABILITIES.items() if info.get(key) is False),
            cpus=int(info.get("NCPU") or 0),
            memory=int(info.get("MemTotal") or 0),
        )
        return self._dialect.facts(facts, info)


_ABILITIES = {"memory": "MemoryLimit", "cpus": "CpuCfsQuota", "pids": "PidsLimit"}
"""Fields of `Resources`, and what `GET /info` calls the ability to apply them."""


def _product(connection: Connection) -> tuple[str, str]:
    """The engine's product, `Docker` or `Libpod`, and its version."""
    if said := re.match(r"(\w+)/(\S+)", connection.server):
        return said[1], said[2]
    version = connection.client.version()  # behind a proxy that says its own name
    return (PODMAN if is_podman(version) else "Docker"), str(version.get("Version", ""))


def _own_container(client: APIClient) -> OwnContainer | None:
    """The container that this process runs in, if it is one of this engine's."""
    from docker.errors import NotFound  # noqa: PLC0415 - there is a client, so it is imported

    id = own_container.of_this_process()
    if not id:
        return None
    try:
        return own_container.from_inspect(client.inspect_container(id))
    except NotFound:
        return None


def shares_filesystem(endpoint: EngineEndpoint, info: dict[str, Any]) -> bool:
    """Return whether engine and caller see the same files, sockets included.

    A unix socket alone proves nothing: Docker Desktop runs the engine in a virtual machine, and a Jupyter that is
    itself a container may have the host's socket mounted. The engine's own data directory exists here only if neither
    is so.
    """
    root = str(info.get("DockerRootDir") or "")
    desktop = "docker desktop" in str(info.get("OperatingSystem", "")).lower()
    return bool(endpoint.socket) and platform.system() == "Linux" and not desktop and bool(root) and os.path.isdir(root)
