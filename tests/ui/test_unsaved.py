"""Unsaved work in an environment's JupyterLab: it is asked about, and it outlives its environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Frame, Locator, Page, expect

from tests.support.lab import Lab
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, button, card, inner_lab, open_lab, project, remembered, tile, toolbar
from tests.support.waiting import wait_until

TEXT = "what nobody has saved"
DIRTY = re.compile("jp-mod-dirty")


@pytest.fixture
def folder(lab: Lab) -> Path:
    return project(lab, "churn-model", {"notes.txt": "before\n", "other.txt": "before\n"})


@pytest.fixture
def inner(lab: Lab, page: Page, folder: Path, console: Console) -> Frame:
    """The environment's own JupyterLab, with a text file of the project changed and not saved."""
    # What the inner page asks for while its environment is away, and the question that it asks the browser.
    console.expected += [r"status of (404|409|502|503) .*/mlenv/envs/", r"WebSocket connection to .*/mlenv/envs/"]
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    inner = inner_lab(page)
    change(page, inner, "notes.txt")
    remembered(inner, "notes.txt")
    return inner


def change(page: Page, inner: Frame, name: str) -> None:
    inner.locator(".jp-DirListing-item", has_text=name).dblclick()
    editor = inner.locator(".jp-FileEditor:visible .cm-content")
    editor.click(timeout=SLOW)
    page.keyboard.insert_text(TEXT)
    expect(tab(inner, name)).to_have_class(DIRTY)


def tab(lab: Frame | Page, name: str) -> Locator:
    return lab.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name)


def dialog(page: Page) -> Locator:
    return page.locator(".jp-Dialog")


def press(page: Page, label: str) -> None:
    dialog(page).get_by_role("button", name=label, exact=True).click()


def close_tab(page: Page) -> None:
    tab(page, HOST).locator(".lm-TabBar-tabCloseIcon").click()


def test_closing_the_tab_asks_and_saves(lab: Lab, page: Page, inner: Frame, folder: Path) -> None:
    change(page, inner, "other.txt")
    close_tab(page)
    expect(dialog(page)).to_contain_text(f"churn-model · {HOST}: notes.txt, other.txt")
    press(page, "Cancel")
    expect(tab(page, HOST)).to_have_count(1)

    page.get_by_role("menuitem", name="File").click()
    page.get_by_role("menuitem", name="Close All Tabs").click()
    expect(dialog(page)).to_contain_text("notes.txt")
    press(page, "Save All and Close")
    expect(tab(page, HOST)).to_have_count(0)
    for name in ("notes.txt", "other.txt"):
        assert TEXT in (folder / name).read_text()


def test_shutting_lab_down_asks(lab: Lab, page: Page, inner: Frame) -> None:
    page.get_by_role("menuitem", name="File").first.click()
    page.get_by_role("menuitem", name="Shut Down", exact=True).click()
    expect(dialog(page)).to_contain_text(f"churn-model · {HOST}: notes.txt")
    press(page, "Cancel")
    expect(dialog(page)).to_have_count(0)
    assert len(lab.environments()) == 1


def test_closing_the_tab_without_saving(lab: Lab, page: Page, inner: Frame, folder: Path) -> None:
    close_tab(page)
    press(page, "Close without Saving")
    expect(tab(page, HOST)).to_have_count(0)
    assert (folder / "notes.txt").read_text() == "before\n"


def test_reloading_the_whole_page_asks(page: Page, inner: Frame) -> None:
    asked: list[str] = []

    def stay(question: Dialog) -> None:
        asked.append(question.type)
        question.dismiss()

    page.on("dialog", stay)
    page.evaluate("setTimeout(() => location.reload())")
    wait_until(lambda: page.wait_for_timeout(50) or asked, "the browser asks")
    assert asked == ["beforeunload"]
    expect(tab(inner, "notes.txt")).to_have_class(DIRTY)


def test_a_stop_from_elsewhere_keeps_the_page_which_saves_after_a_start(
    lab: Lab, page: Page, inner: Frame, folder: Path
) -> None:
    [environment] = lab.environments()
    lab.mlenv("stop", environment["id"])
    expect(card(page)).to_contain_text("is stopped", timeout=SLOW)
    expect(page.locator(".jp-mlenv-Held")).to_contain_text("Your unsaved changes are still here")
    expect(inner.locator(".cm-content:visible")).to_contain_text(TEXT)
    close_tab(page)
    expect(dialog(page)).to_contain_text("notes.txt")
    press(page, "Cancel")

    button(page, "Start").click()
    expect(card(page)).to_contain_text("runs again", timeout=SLOW)
    expect(inner.locator(".cm-content:visible")).to_contain_text(TEXT)
    button(page, "Save All and Reload").click()
    expect(card(page)).to_have_count(0)
    wait_until(lambda: TEXT in (folder / "notes.txt").read_text(), "the page has saved")
    expect(tab(inner_lab(page, instead_of=inner), "notes.txt")).not_to_have_class(DIRTY, timeout=SLOW)


def test_a_removal_from_elsewhere_keeps_the_page_which_saves_in_the_next_one(
    lab: Lab, page: Page, inner: Frame, folder: Path
) -> None:
    [environment] = lab.environments()
    lab.mlenv("rm", environment["id"], "--yes")
    expect(card(page)).to_contain_text("no longer exists", timeout=SLOW)
    expect(page.locator(".jp-mlenv-Held")).to_contain_text("Your unsaved changes are still here")
    button(page, "Create it again").click()
    expect(card(page)).to_contain_text("runs again", timeout=SLOW)
    button(page, "Keep this page").click()
    expect(card(page)).to_have_count(0)
    close_tab(page)
    press(page, "Save All and Close")
    expect(tab(page, HOST)).to_have_count(0)
    assert TEXT in (folder / "notes.txt").read_text()


def test_stopping_and_restarting_ask_and_save(lab: Lab, page: Page, inner: Frame, folder: Path) -> None:
    page.get_by_role("tab", name="Running Terminals and Kernels").click()
    item = page.locator('#jp-running-sessions [data-context="mlenv-environment"]')
    item.hover()
    item.locator('[title="Stop"]').click()
    expect(dialog(page)).to_contain_text(f"churn-model · {HOST}: notes.txt")
    press(page, "Cancel")
    assert [e["state"] for e in lab.environments()] == ["running"]

    toolbar(page, "Restart this environment").click()
    press(page, "Save All and Restart")
    wait_until(lambda: TEXT in (folder / "notes.txt").read_text(), "the page has saved")
    inner = inner_lab(page, instead_of=inner)
    expect(tab(inner, "notes.txt")).to_be_visible(timeout=SLOW)

    change(page, inner, "other.txt")
    toolbar(page, "Stop this environment").click()
    press(page, "Stop without Saving")
    expect(card(page)).to_contain_text("is stopped", timeout=SLOW)
    expect(inner.locator(".cm-content:visible")).to_contain_text(TEXT)
    assert (folder / "other.txt").read_text() == "before\n"
