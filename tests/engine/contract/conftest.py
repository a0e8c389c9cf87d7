"""The adapter under test, by the registry of engines: the machine's Docker, or what CONTRACT_ENGINE names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import docker
import pytest

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.engines import registry
from jupyter_mlenv.engines.base import Engine
from jupyter_mlenv.engines.registry import EngineOptions
from tests.support.docker import cleaning
from tests.support.leftovers import connect


@pytest.fixture(scope="session")
def kind() -> str:
    return os.environ.get("CONTRACT_ENGINE", "docker")


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ.get("CONTRACT_URL", "")


@pytest.fixture(scope="session")
def image(kind: str, url: str, base_image: str) -> str:
    """The tests' base image, brought to an engine that is another one."""
    if url:
        with closing(connect()) as here, closing(docker.APIClient(url, version="auto", timeout=300)) as there:
            if not there.images(base_image):
                for _ in there.load_image(here.get_image(base_image)):
                    pass
    return base_image


@pytest.fixture
async def engine(kind: str, url: str, owner: str) -> AsyncIterator[Engine]:
    async with cleaning(registry.create(kind, EngineOptions(url=url)), owner) as made:
        yield made


@pytest.fixture
def config(settings: Callable[..., MlenvConfig], kind: str, url: str) -> MlenvConfig:
    """The configuration of a person with this engine."""
    return settings(engine_kind=kind, **({"engine_url": url} if url else {}))
