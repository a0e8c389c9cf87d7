"""What a person is told where a start cannot work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.lab import Lab, running_lab
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, button, card, open_lab, project, tile


@pytest.fixture
def lab_without_engine(owner: str) -> Iterator[Lab]:
    """A server that was pointed at an engine that is not there."""
    with running_lab(owner, environment={"DOCKER_HOST": "unix:///nonexistent.sock"}) as lab:
        yield lab


def test_without_an_engine_the_tiles_are_there_and_say_what_is_missing(
    lab_without_engine: Lab, page: Page, console: Console
) -> None:
    lab = lab_without_engine
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    expect(tile(page, "PyTorch")).to_be_visible()

    tile(page, HOST).click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("The environment was not started", timeout=SLOW)
    expect(dialog).to_contain_text("/nonexistent.sock")
    expect(dialog.locator(".jp-mlenv-Error-hint")).to_contain_text("DOCKER_HOST")
    expect(page.locator(".jp-Dialog")).not_to_contain_text("Traceback")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".jp-mlenv-MainAreaWidget")).to_have_count(0)
    assert console.expected == []


def test_the_home_directory_is_refused_readably(lab: Lab, page: Page, console: Console) -> None:
    console.expected.append(r"status of 403 .*/mlenv/api/environments")
    open_lab(page, lab)
    tile(page, HOST).click()
    expect(card(page)).to_contain_text("it is the home directory, which holds keys and passwords", timeout=SLOW)
    expect(card(page)).to_contain_text("Make a folder for the project and start there")
    button(page, "Close").click()
    expect(page.locator(".jp-mlenv-MainAreaWidget")).to_have_count(0)
    assert lab.environments() == []


def test_a_gpu_tile_without_a_gpu_names_the_cpu_twin(lab: Lab, page: Page) -> None:
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    tile(page, "GPU of this machine").click()
    expect(card(page)).to_contain_text("could not be started", timeout=SLOW)
    expect(card(page).locator(".jp-mlenv-Error-message")).to_contain_text("GPU")
    expect(card(page).locator(".jp-mlenv-Error-hint")).to_contain_text('Use the preset "host", which runs on the CPU')
    assert lab.environments() == []
