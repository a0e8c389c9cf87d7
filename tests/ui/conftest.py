"""Every test here needs the engine; the session's sweep at its end comes with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support.lab import Lab, running_lab

RESULTS = Path("test-results")
"""Screenshots of failed tests."""


@pytest.fixture(scope="session", autouse=True)
def _engine(engine_ready: str) -> None:
    """Set up first, so torn down last: after every other fixture has cleaned up."""


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium, or the one that `MLENV_TEST_BROWSER` names, else playwright's own."""
    path = os.environ.get("MLENV_TEST_BROWSER") or shutil.which("chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    browser = playwright.chromium.launch(executable_path=path, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a fresh profile; a failed test leaves a picture of it."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    failed = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed:
        RESULTS.mkdir(exist_ok=True)
        page.screenshot(path=RESULTS / f"{request.node.name}.png")
    context.close()


@pytest.fixture
def lab(owner: str) -> Iterator[Lab]:
    """A Jupyter server under a base URL with an encoded character, as hubs have."""
    with running_lab(owner, base_url="/user/alice%40b/") as lab:
        yield lab
