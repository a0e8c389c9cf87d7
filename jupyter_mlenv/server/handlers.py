"""The REST API under `<base_url>mlenv/api/`; see "REST" in `docs/architecture.md`, and `openapi.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from .. import urls
from ..errors import EngineError, MlenvError, WorkspaceForbidden, WorkspaceNotFound
from ..presets.model import Preset
from ..serialization import to_plain
from . import validation
from .base import MlenvHandler
from .request_workspace import workspace_at, workspace_of
from .watch import WatchHandler

DOCUMENT = Path(__file__).with_name("openapi.json")


class Engine(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        try:
            facts, error = to_plain(await self.environments.engine.facts()), None
        except EngineError as reason:
            facts, error = None, reason.to_json()
        self.answer({"available": error is None, "facts": facts, "error": error})


class Presets(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        workspace = await self.workspace()
        presets, broken = await self.environments.presets(workspace or "")
        ready = await self.ready(presets, workspace or "")
        shown = [preset.to_json(ready.get(preset.name)) for preset in presets]
        self.answer({"presets": shown, "errors": [e.to_json() for e in broken], "workspace": workspace})

    async def workspace(self) -> str | None:
        """The workspace of the argument `path`; `None` where there can be none, which a start then says clearly."""
        if "path" not in self.request.query_arguments:
            return None
        path = validation.contents_path(self.argument("path"))
        try:
            return await workspace_at(path, self.environments)
        except (WorkspaceForbidden, WorkspaceNotFound):
            return None

    async def ready(self, presets: Sequence[Preset], workspace: str) -> dict[str, bool | None]:
        """Return which images are on the engine, by preset; empty without an engine."""
        try:
            return await self.environments.ready(presets, workspace)
        except MlenvError as error:
            self.log.debug("Which presets are ready is not known: %s", error)
            return {}


class Consents(MlenvHandler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        folder, digest = validation.consent(self.body())
        await self.environments.agree(folder, digest)
        self.nothing()


class EnvironmentList(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        environments = await self.environments.list()
        self.answer({"environments": [e.to_json(self.base_url) for e in environments]})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        start = validation.start(self.body())
        workspace = await workspace_of(start, self.environments)
        self.accepted(*await self.environments.start(start.request(workspace), self.base_url))


class OneEnvironment(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        environment = await self.environments.get(urls.environment_id(id))
        self.answer(environment.to_json(self.base_url))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        await self.environments.remove(urls.environment_id(id))
        self.nothing()


class StartEnvironment(MlenvHandler):
    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        endpoint = validation.endpoint(self.body())
        self.accepted(*await self.environments.resume(urls.environment_id(id), self.base_url, endpoint))


class RestartEnvironment(MlenvHandler):
    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        endpoint = validation.endpoint(self.body())
        self.accepted(*await self.environments.restart(urls.environment_id(id), self.base_url, endpoint))


class StopEnvironment(MlenvHandler):
    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        environment = await self.environments.stop(urls.environment_id(id))
        self.answer(environment.to_json(self.base_url))


class EnvironmentLogs(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        tail = self.number("tail", 200, least=1, most=validation.MAX_TAIL_LINES)
        lines = self.environments.logs(urls.environment_id(id), tail=tail)
        self.answer({"lines": [line async for line in lines]})


class EnvironmentPorts(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        id = urls.environment_id(id)
        ports = await self.environments.ports(id)
        self.answer({"ports": [one.to_json(self.base_url, id) for one in ports]})


class JobList(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer({"jobs": [job.to_json() for job in self.environments.jobs.all()]})


class OneJob(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        self.answer(self.environments.jobs.get(validation.job_id(id)).to_json())

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        self.environments.jobs.get(validation.job_id(id)).cancel()
        self.nothing()


class JobLog(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        since = self.number("since", 0, least=0, most=10**15 - 1)
        first, lines = self.environments.jobs.get(validation.job_id(id)).since(since)
        self.answer({"lines": lines, "next": first + len(lines)})


class OpenApi(MlenvHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.answer(document() | {"servers": [{"url": f"{self.base_url}mlenv/api"}]})


class NothingHere(MlenvHandler):
    """Whatever else is asked for below `api/`."""

    @web.authenticated
    async def get(self) -> None:
        raise web.HTTPError(404, "There is nothing at this address of the API")

    head = post = put = patch = delete = get


ROUTES: tuple[tuple[str, type[web.RequestHandler]], ...] = (
    ("/engine", Engine),
    ("/presets", Presets),
    ("/consents", Consents),
    ("/environments", EnvironmentList),
    ("/environments/{id}", OneEnvironment),
    ("/environments/{id}/start", StartEnvironment),
    ("/environments/{id}/restart", RestartEnvironment),
    ("/environments/{id}/stop", StopEnvironment),
    ("/environments/{id}/logs", EnvironmentLogs),
    ("/environments/{id}/ports", EnvironmentPorts),
    ("/jobs", JobList),
    ("/jobs/{id}", OneJob),
    ("/jobs/{id}/log", JobLog),
    ("/openapi.json", OpenApi),
    ("/watch", WatchHandler),
)
"""Paths as the OpenAPI document has them."""


def api_handlers(base_url: str) -> list[tuple[str, type[web.RequestHandler]]]:
    """The handlers to add to a server's web application; `base_url` is `settings["base_url"]`."""
    api = re.escape(base_url) + "mlenv/api"
    known = [(api + re.escape(path).replace(r"\{id\}", "([^/]+)"), handler) for path, handler in ROUTES]
    return [*known, (api + "(?:/.*)?", NothingHere)]


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document, as shipped."""
    value: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return value
