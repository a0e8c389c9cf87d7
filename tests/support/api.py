"""The real Jupyter server with our real extension, in the test's own event loop, over an engine that the test holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jupyter_server.serverapp import ServerApp
from tornado.httpserver import HTTPServer
from traitlets.config import Config
from yarl import URL

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.engines.base import Engine
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.server.extension import MlenvExtension

from .waiting import eventually, free_port

TOKEN = "secret-of-the-test"
BASE_URL = "/user/alice%40b/"


@dataclass
class Answer:
    """Status, headers and the parsed body of an answer; `None` if it has none."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """A client of the running server; requests carry the token unless a test sends other headers."""

    app: ServerApp
    port: int
    session: aiohttp.ClientSession
    root: Path
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"token {TOKEN}"})

    @property
    def environments(self) -> Environments:
        found: Environments = self.app.web_app.settings["mlenv"]
        return found

    @property
    def extension(self) -> MlenvExtension:
        found: MlenvExtension = self.app.extension_manager.extension_points["jupyter_mlenv"].app
        return found

    def url(self, path: str) -> URL:
        """The address of a path below `api/`, percent-encoded as it is written."""
        return URL(f"http://127.0.0.1:{self.port}{BASE_URL}mlenv/api/{path}", encoded=True)

    async def call(self, verb: str, path: str, body: Any = None, *, raw: bytes | None = None, **options: Any) -> Answer:
        options.setdefault("headers", self.headers)
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        async with self.session.request(verb, self.url(path), data=data, **options) as answer:
            text = await answer.text()
            parsed = json.loads(text) if text else None
            return Answer(answer.status, dict(answer.headers), parsed)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.call("DELETE", path, **options)

    def watch(self, **options: Any) -> Any:
        """A WebSocket as an `async with`."""
        options.setdefault("headers", self.headers)
        return self.session.ws_connect(self.url("watch"), **options)

    async def ended(self, job: str) -> dict[str, Any]:
        """The job, once it no longer runs."""

        async def now() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.get(f"jobs/{job}")).body
            return found if found["state"] != "running" else None

        return await eventually(now, f"job {job} has ended")  # type: ignore[return-value]


@asynccontextmanager
async def running_api(
    engine: Engine,
    root: Path,
    config: dict[str, Any] | None = None,
    *,
    run_root: str,
    owner: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Api]:
    """Start, and stop as the server does: `config` are traits by class, on top of what the test needs."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(root.parent / name.lower()))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")
    monkeypatch.setattr(MlenvConfig, "engine", lambda self: engine)
    (root / "project").mkdir(parents=True, exist_ok=True)
    (root / "project" / "pyproject.toml").touch()
    port = free_port()
    settings: dict[str, Any] = {
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "base_url": BASE_URL,
            "root_dir": str(root),
            "allow_root": True,
            "open_browser": False,
            "log_level": "ERROR",
            "jpserver_extensions": {"jupyter_mlenv": True},
            "allow_unauthenticated_access": False,
        },
        "IdentityProvider": {"token": TOKEN},
        "MlenvConfig": {
            "auto_kernels": False,  # it asks the engine whenever something changes; tests/engine has tests of it
            "owner": owner,
            "run_root": run_root,
            "gc_freeze": False,
            "preset_paths": [str(root / "presets")],
        },
    }
    for section, traits in (config or {}).items():
        settings.setdefault(section, {}).update(traits)
    app = ServerApp(config=Config(settings))
    app.initialize(argv=[], new_httpserver=False)
    server = HTTPServer(app.web_app)
    server.listen(port, "127.0.0.1")
    app._http_server = server
    await app.extension_manager.start_all_extensions()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        api = Api(app, port, session, root)
        try:
            yield api
        finally:
            environments = api.environments
            await app._cleanup()
            server.stop()
            await server.close_all_connections()
            assert environments.engine is engine
