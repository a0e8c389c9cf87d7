"""Which tabs are there again after a reload."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.tabs import HOST, SLOW, inner_lab, open_lab, project, remembered, settled, tile


def test_the_tab_of_a_click_is_there_after_a_reload(lab: Lab, page: Page) -> None:
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    settled(inner_lab(page))
    [environment] = lab.environments()
    remembered(page, environment["id"])
    page.reload()
    expect(page.locator(".lm-TabBar-tab", has_text=f"churn-model · {HOST}")).to_be_visible(timeout=SLOW)
    settled(inner_lab(page))
    assert [(e["id"], e["state"]) for e in lab.environments()] == [(environment["id"], "running")]
