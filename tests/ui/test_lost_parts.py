"""Parts of a page that get lost on the way, as when a container that starts changes the machine's network."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.support.lab import Lab
from tests.support.observed import Console
from tests.support.tabs import HOST, environment_frame, inner_lab, open_lab, project, tile


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


def test_a_request_that_is_taken_back_reloads_nothing(lab: Lab, page: Page) -> None:
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.is_navigation_request() else None)
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    frame = environment_frame(page, "notebook")
    # From the moment that there is a page, while it starts and after that, as extensions do.
    frame.evaluate(
        """() => {
          const ask = () => {
            const taken = new AbortController();
            fetch(new URL('../../api/contents?content=1', location.href), {signal: taken.signal}).catch(() => null);
            setTimeout(() => taken.abort());
          };
          for (let i = 0; i < 80; i++) setTimeout(ask, 100 * i);
        }"""
    )
    inner_lab(page)
    page.wait_for_function("() => performance.now() > 0")
    frame.wait_for_function("() => performance.now() > 12000")
    assert frame.locator(".jp-LabShell").count() == 1
    assert len(loads) == 2, loads
