"""The Engine protocol on docker-py's low-level client."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Literal

from ...errors import (
    ContainerNotFound,
    EngineError,
    ImageNotFound,
    RegistryUnreachable,
)
from ..base import ContainerInfo, EngineEvent, EngineFacts, FileMissing, ImageInfo, Storage
from ..model import BuildRecipe, ContainerSpec, FileEntry, Progress, Reporter
from . import calls, containers, credentials
from .build import base_images, build_error, read_build
from .buildkit import BuildKitProgress
from .classic import ClassicProgress
from .dialect import Dialect
from .errors import from_message
from .events import FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS, PROOF_SECONDS, parse_event, proven, read_events, time_of
from .pull import PullProgress, read_pull
from .session import Session


class DockerEngine:
    """A Docker engine. See `engines.base.Engine` for what its methods promise.

    Parameters
    ----------
    url
        `unix://`, `tcp://` or `ssh://`; `None` finds the engine as the docker command line does.
    threads
        Blocking calls at the same time; streams have threads of their own.
    shares_filesystem
        Whether a unix socket in a bind-mounted directory works on both sides; `None` finds out.
    builder
        `auto` uses BuildKit where the engine has it.
    publish_host
        The engine host's IP address that ports are published on, and reached at; empty: the one that it listens on.
    dialect
        The ways of an engine that only speaks Docker's API; `None` for Docker itself.

    Nothing is read, imported or connected until the first call.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        threads: int = 8,
        shares_filesystem: bool | None = None,
        builder: Literal["auto", "buildkit", "classic"] = "auto",
        publish_host: str = "",
        dialect: Dialect | None = None,
    ) -> None:
        self._dialect = dialect or Dialect()
        self._session = Session(
            url,
            threads=threads,
            shares_filesystem=shares_filesystem,
            builder=builder,
            publish_host=publish_host,
            dialect=self._dialect,
        )

    def origin(self) -> str:
        return self._session.origin()

    async def facts(self) -> EngineFacts:
        return await self._session.facts()

    async def remarks(self) -> Sequence[str]:
        return [
            f"The docker configuration names {program}, which is not installed: no login for a registry is used."
            for program in await asyncio.to_thread(credentials.missing_here)
        ]

    async def image(self, reference: str) -> ImageInfo | None:
        try:
            return await self._session.call(partial(calls.image, reference=reference), question=True, image=reference)
        except ImageNotFound:
            return None

    async def images(self, labels: Mapping[str, str]) -> Sequence[ImageInfo]:
        return await self._session.call(partial(calls.images, labels=labels), question=True)

    async def pull(self, reference: str, reporter: Reporter) -> ImageInfo:
        progress = PullProgress()
        reporter.progress(progress.now())
        async with aclosing(self._session.stream(partial(read_pull, reference), image=reference)) as messages:
            async for message in messages:
                if "error" in message:
                    raise from_message(str(message["error"]), image=reference)
                line = progress.feed(message)
                if line:
                    reporter.log(line)
                reporter.progress(progress.now())
        return await self._present(reference)

    async def build(self, recipe: BuildRecipe, reporter: Reporter) -> ImageInfo:
        facts = await self.facts()
        if facts.buildkit:
            await self._pull_private_bases(recipe, reporter)
        build_id = secrets.token_hex(16) if facts.buildkit else ""
        progress = BuildKitProgress(recipe.steps, recipe.step_title) if build_id else ClassicProgress(recipe.step_title)
        reporter.progress(Progress("build", "Sending the build context"))
        try:
            async with aclosing(self._session.stream(partial(read_build, recipe, build_id, progress))) as news:
                async for one in news:
                    if isinstance(one, Progress):
                        reporter.progress(one)
                    else:
                        reporter.log(one)
        except asyncio.CancelledError:
            if build_id:
                # The lost connection is enough for today's engines; this is what the command line does as well.
                with suppress(EngineError):
                    await self._session.call(partial(calls.cancel_build, build_id=build_id), finish=True)
            raise
        except EngineError as error:
            if error.details.get("status") == 400:  # the classic builder reads the Dockerfile before it answers
                raise build_error(progress, error.details["engine_message"]) from None
            raise
        return await self._present(recipe.tag)

    async def import_image(self, reference: str, tar: bytes | Path, labels: Mapping[str, str]) -> ImageInfo:
        read = partial(calls.read_import, reference, tar, self._dialect.label_changes(labels))
        async with aclosing(self._session.stream(read)) as messages:
            async for message in messages:
                if "error" in message:
                    raise from_message(str(message["error"]))
        return await self._present(reference)

    async def storage(self) -> Storage | None:
        facts, path = await self.facts(), self._session.data_dir
        return Storage(path, self._dialect.make_room) if facts.shares_filesystem and path else None

    async def remove_image(self, reference: str) -> None:
        with suppress(ImageNotFound):
            await self._session.call(partial(calls.remove_image, reference=reference), image=reference, finish=True)

    async def build_cache(self) -> int:
        return await self._session.call(calls.build_cache)

    async def empty_build_cache(self) -> int:
        return await self._session.call(calls.empty_build_cache, finish=True)

    async def create(self, spec: ContainerSpec) -> ContainerInfo:
        facts, own = await self.facts(), self._session.own
        spec = own.translated(spec) if own else spec
        body = containers.create_body(
            spec, publish_host=facts.publish_host, swap_accounting=self._session.swap_accounting
        )
        work = partial(calls.create, name=spec.name, body=self._dialect.body(body, rootless=facts.rootless))
        info = await self._session.call(work, image=spec.image, container=spec.name, undo=calls.remove_created)
        return self._said(info, facts)

    async def put_files(self, container: str, files: Sequence[FileEntry]) -> None:
        await self._session.call(partial(calls.put_files, id=container, files=files), container=container, finish=True)

    async def read_file(self, container: str, path: str) -> bytes:
        await self.inspect(container)  # the engine says 404 for a missing file too
        try:
            return await self._session.call(
                partial(calls.read_file, id=container, path=path), question=True, container=container
            )
        except ContainerNotFound:
            raise FileMissing(
                f"Container {container} has no file {path}.", details={"container": container, "path": path}
            ) from None

    async def start(self, container: str) -> ContainerInfo:
        info = await self._session.call(partial(calls.start, id=container), container=container, finish=True)
        return self._said(info, await self.facts())

    async def stop(self, container: str, timeout: int) -> None:
        await self._session.call(partial(calls.stop, id=container, timeout=timeout), container=container)

    async def remove(self, container: str) -> None:
        with suppress(ContainerNotFound):
            await self._session.call(partial(calls.remove, id=container), container=container, finish=True)

    async def list(self, labels: Mapping[str, str]) -> Sequence[ContainerInfo]:
        found = await self._session.call(partial(calls.containers, labels=labels), question=True)
        return [self._dialect.said(info) for info in found]

    async def inspect(self, container: str) -> ContainerInfo:
        info = await self._session.call(partial(calls.inspect, id=container), question=True, container=container)
        return self._said(info, await self.facts())

    async def logs(self, container: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        read = partial(calls.read_logs, container, tail, follow)
        async with aclosing(self._session.stream(read, container=container)) as lines:
            async for line in lines:
                yield line

    async def events(self) -> AsyncGenerator[EngineEvent, None]:
        since, delay, blind, trusted = 0, FIRST_DELAY_SECONDS, False, True
        while not self._session.closed.is_set():
            began, told, heard = 0.0, False, since
            try:
                stream = self._session.stream(partial(read_events, since))
                async with aclosing(proven(stream, 0.0 if trusted else PROOF_SECONDS)) as messages:
                    async for raw in messages:
                        if raw is None:
                            since, began, blind = since or time.time_ns(), time.monotonic(), False
                            yield EngineEvent("connected", time=time.time())
                        elif (moment := time_of(raw)) > heard:  # not yet before the stream was lost
                            since, told = max(since, moment), True  # a short-lived container's come out of order
                            event = parse_event(self._dialect.event(raw))
                            if event is not None:
                                yield event
            except EngineError:
                pass
            if self._session.closed.is_set():
                return
            if began:
                # One that listens and lets go at once, again and again, must not make every watcher flicker.
                trusted = told or time.monotonic() - began > PROOF_SECONDS
                delay = FIRST_DELAY_SECONDS if trusted else delay
            if not blind:
                blind = True
                self._session.forget()
                yield EngineEvent("disconnected", time=time.time())
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._session.closed.wait(), delay)
            delay = min(delay * 2, LAST_DELAY_SECONDS)

    async def close(self) -> None:
        self._session.close()

    def _said(self, info: ContainerInfo, facts: EngineFacts) -> ContainerInfo:
        """The container in our words, without limits that the engine only repeats."""
        return self._dialect.said(containers.without(info, facts.ignored))

    async def _pull_private_bases(self, recipe: BuildRecipe, reporter: Reporter) -> None:
        """BuildKit takes registry logins from a session only, which we have none of; an image that is here needs none.

        What cannot be pulled may belong to a stage that nobody needs: BuildKit decides, and says why if it fails.
        """
        for base in base_images(recipe.dockerfile, recipe.args):
            if await self.image(base) is None and await self._session.call(
                partial(calls.has_credentials, reference=base)
            ):
                with suppress(ImageNotFound, RegistryUnreachable):
                    await self.pull(base, reporter)

    async def _present(self, reference: str) -> ImageInfo:
        found = await self.image(reference)
        if found is None:
            raise ImageNotFound(
                f"The image {reference} disappeared right after it was made.", details={"image": reference}
            )
        return found
