"""An environment that stops, starts again and goes away, seen from its tab."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.notebook import new_notebook, run_cell
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, button, card, inner_lab, open_lab, project, settled, tile, toolbar


def test_stop_start_and_removal_elsewhere(lab: Lab, page: Page, console: Console) -> None:
    folder = project(lab, "churn-model", {"notes.txt": "keep me\n"})
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    inner = inner_lab(page)
    new_notebook(inner)
    assert "42" in run_cell(page, inner, "print(6 * 7)")
    [environment] = lab.environments()

    toolbar(page, "Stop this environment").click()
    expect(page.locator(".jp-Dialog")).to_contain_text("Saved files and installed packages are kept")
    page.locator(".jp-Dialog").get_by_role("button", name="Save All and Stop").click()
    expect(card(page)).to_contain_text("is stopped", timeout=SLOW)
    assert [e["state"] for e in lab.environments()] == ["stopped"]

    button(page, "Start").click()
    settled(inner_lab(page))
    assert [(e["id"], e["state"]) for e in lab.environments()] == [(environment["id"], "running")]

    # The inner Lab saves its layout now and then, and connects to its kernel again, which the next container never had.
    console.expected.append(r"(status of (409|502) .*/mlenv/envs/|WebSocket connection to .*/mlenv/envs/)")
    console.expected.append(r"status of 404 .*/mlenv/envs/.*/api/(kernels|sessions)/")
    lab.mlenv("rm", environment["id"], "--yes")
    expect(card(page)).to_contain_text("no longer exists", timeout=SLOW)
    expect(card(page)).to_contain_text("The files of your project are untouched")
    assert (folder / "notes.txt").read_text() == "keep me\n"

    button(page, "Create it again").click()
    inner_lab(page)
    assert [(e["id"], e["state"]) for e in lab.environments()] == [(environment["id"], "running")]
