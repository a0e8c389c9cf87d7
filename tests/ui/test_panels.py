"""The command palette and the panel of running things."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.tabs import HOST, SLOW, card, inner_lab, open_lab, project

COMMANDS = (
    "Start ML Environment…",
    "Open ML Environment…",
    "Open TensorBoard of ML Environment",
    "Open ML Environment in New Browser Tab",
    "Stop ML Environment",
    "Restart ML Environment",
    "Remove ML Environment",
    "Show Log of ML Environment",
    "Cancel Start of ML Environment",
)


def test_start_from_the_palette_and_stop_in_the_running_panel(lab: Lab, page: Page) -> None:
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")

    page.keyboard.press("Control+Shift+C")
    palette = page.locator(".lm-CommandPalette")
    for command in COMMANDS:
        expect(palette.locator(".lm-CommandPalette-itemLabel", has_text=command).first).to_be_attached()
    page.keyboard.type("Start ML Environment")
    palette.locator(".lm-CommandPalette-item", has_text="Start ML Environment…").first.click()
    dialog = page.locator(".jp-Dialog")
    dialog.locator("select").select_option(label=choice(page, HOST))
    dialog.get_by_role("button", name="Ok").click()
    inner_lab(page)

    page.get_by_role("tab", name="Running Terminals and Kernels").click()
    item = page.locator('#jp-running-sessions [data-context="mlenv-environment"]')
    expect(item).to_have_text(f"churn-model · {HOST}")
    item.hover()
    item.locator('[title="Stop"]').click()
    expect(dialog).to_contain_text("This shuts down all kernels and terminals")
    dialog.get_by_role("button", name="Stop", exact=True).click()
    expect(item).to_have_count(0, timeout=SLOW)
    expect(card(page)).to_contain_text("is stopped", timeout=SLOW)
    assert [e["state"] for e in lab.environments()] == ["stopped"]


def choice(page: Page, title: str) -> str:
    """The whole text of the offered preset with this title."""
    return page.locator(".jp-Dialog option", has_text=title).first.inner_text()
