"""Fixtures of the REST and watch tests: a real server over an engine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.fakes import FakeEngine

PRESET = """
[image]
reference = "registry.test/small:1"
[resources]
memory = "1g"
"""


class Serve(Protocol):
    """`serve(config)`: a running server with these traits, as an `async with`."""

    def __call__(self, config: dict[str, object] | None = None) -> AbstractAsyncContextManager[object]: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The server's root directory; it has the preset `small`, and the folder `project` once the server runs."""
    (tmp_path / "root" / "presets").mkdir(parents=True)
    (tmp_path / "root" / "presets" / "small.toml").write_text(PRESET)
    return tmp_path / "root"


@pytest.fixture
def fake() -> FakeEngine:
    """An engine whose registry has the image of `small`, in two layers."""
    return FakeEngine(registry={"registry.test/small:1": [1000, 2000]})


@pytest.fixture
def serve(fake: FakeEngine, root: Path, run_root: str, owner: str, monkeypatch: pytest.MonkeyPatch) -> Serve:
    from tests.support.api import running_api

    return partial(running_api, fake, root, run_root=run_root, owner=owner, monkeypatch=monkeypatch)


@pytest.fixture
async def api(serve: Serve, fake: FakeEngine) -> AsyncIterator[object]:
    """The running server; what a test started is removed at the end."""
    async with serve() as api:
        yield api
        fake.up()
        fake.delays.clear()
        for environment in await api.environments.list():  # type: ignore[attr-defined]
            await api.environments.remove(environment.id)  # type: ignore[attr-defined]
