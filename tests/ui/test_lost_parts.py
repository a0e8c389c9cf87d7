"""Parts of a page that get lost on the way, as when a container that starts changes the machine's network."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.support.lab import Lab
from tests.support.observed import Console
from tests.support.tabs import HOST, inner_lab, open_lab, project, tile


def test_an_inner_lab_that_lost_a_part_is_loaded_again(lab: Lab, page: Page, console: Console) -> None:
    console.expected.append("ERR_CONNECTION_RESET|Failed to fetch|failed to load")
    lost: list[str] = []

    def lose_once(part: str) -> None:
        def lose(route: Route) -> None:
            lost.append(part)
            route.abort("connectionreset")

        page.route(re.compile(rf"/mlenv/envs/[^/]+/notebook/{part}"), lose, times=1)

    lose_once("lab/api/themes/.*css")
    lose_once("lab/api/settings")
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    inner_lab(page)
    expect(inner_lab(page).locator(".jp-Launcher-section").first).to_be_visible()
    assert sorted(lost) == ["lab/api/settings", "lab/api/themes/.*css"]
    expect(inner_lab(page).locator(".jp-Dialog")).to_have_count(0)
    expect(inner_lab(page).locator("body")).to_have_attribute("data-jp-theme-name", "JupyterLab Light")
