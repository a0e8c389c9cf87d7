"""Every test here needs the engine; the session's sweep at its end comes with it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support.browser import executable
from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.observed import Console, record_progress

RESULTS = Path("test-results")
"""Screenshots of failed tests."""

BASE_URL = "/user/alice%40b/"
"""With an encoded character, as hubs have."""

GPU_PRESET = """\
schema = 1
name = "gpu-host"
title = "GPU of this machine"
extends = "host"
gpu = true
twin = "host"
"""


@pytest.fixture(scope="session", autouse=True)
def _engine(engine_ready: str) -> None:
    """Set up first, so torn down last: after every other fixture has cleaned up."""


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh profile that records progress."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    record_progress(page)
    yield page
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test leaves a picture of its page, taken before anything is cleaned up."""
    report = yield
    if report.when == "call" and report.failed and "page" in item.funcargs:
        RESULTS.mkdir(exist_ok=True)
        page: Any = item.funcargs["page"]
        page.screenshot(path=RESULTS / f"{item.name}.png")
    return report


@pytest.fixture(autouse=True)
def console(page: Page, request: pytest.FixtureRequest) -> Iterator[Console]:
    """A test whose page complains about us has failed, unless it said what it expects."""
    console = Console(page)
    failed = request.session.testsfailed
    yield console
    if request.session.testsfailed == failed:
        said = console.ours()
        assert not said, "the browser complained:\n" + "\n".join(said)


@pytest.fixture(scope="session")
def server(owner: str, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One Jupyter server for all tests that need no other; the catalog's Python is built on our base image."""
    presets = tmp_path_factory.mktemp("presets")
    (presets / "gpu-host.toml").write_text(GPU_PRESET)
    alias = f"{{'docker.io/library/python': '{base_image}'}}"
    options = (f"--MlenvConfig.image_aliases={alias}", f"--MlenvConfig.preset_paths={presets}")
    with running_lab(owner, base_url=BASE_URL, options=options) as lab:
        owned_by_person(lab, presets)
        yield lab


@pytest.fixture
def lab(server: Lab) -> Iterator[Lab]:
    """That server, with no environment and no tab open; so it is left, too, whatever the test did."""
    server.tidy()
    yield server
    server.tidy()
