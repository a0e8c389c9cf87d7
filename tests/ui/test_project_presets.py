"""A preset that comes with a project: agreed to before it is used, and reported where it cannot be."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.lab import Lab, owned_by_person
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, button, card, inner_lab, open_lab, project, settled, tile
from tests.support.waiting import wait_until

PRESET = """\
schema = 1
title = "Cloned"
extends = "host"
env = {{ GREETING = "{0}" }}
"""


def write(lab: Lab, folder: Path, text: str) -> None:
    (folder / "mlenv.toml").write_text(text)
    owned_by_person(lab, folder)


def dialog(page: Page) -> Locator:
    return page.locator(".jp-Dialog")


def press(page: Page, label: str) -> None:
    dialog(page).get_by_role("button", name=label, exact=True).click()


def test_a_cloned_preset_is_agreed_to_first(lab: Lab, page: Page, console: Console) -> None:
    console.expected.append(r"status of 409 .*/mlenv/api/consents")
    folder = project(lab, "cloned", {"mlenv.toml": PRESET.format("<b>hello</b>")})
    open_lab(page, lab, "cloned")
    tile(page, "Cloned").click()
    expect(dialog(page)).to_contain_text(str(folder / "mlenv.toml"))
    expect(dialog(page)).to_contain_text("GREETING=<b>hello</b>")  # as text
    expect(dialog(page)).to_contain_text(f"It sees and changes the files in {folder}")
    expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    assert lab.environments() == []

    tile(page, "Cloned").click()
    expect(dialog(page)).to_contain_text("<b>hello</b>")
    write(lab, folder, PRESET.format("other"))  # while the person reads
    press(page, "Agree and start")
    expect(dialog(page)).to_contain_text("The files have changed meanwhile")
    expect(dialog(page)).to_contain_text("GREETING=other")
    assert lab.environments() == []
    press(page, "Agree and start")
    settled(inner_lab(page))
    assert [e["title"] for e in lab.environments()] == ["Cloned"]


def test_a_start_that_needs_an_agreement_asks_for_it(lab: Lab, page: Page, console: Console) -> None:
    """A start by itself: the page knows the preset as one that was agreed to, and the file has changed since."""
    console.expected.append(r"status of 409 .*/mlenv/api/environments")
    folder = project(lab, "cloned", {"mlenv.toml": PRESET.format("one")})
    lab.mlenv("agree", str(folder), "--yes")
    open_lab(page, lab, "cloned")
    expect(tile(page, "Cloned")).to_be_visible()
    write(lab, folder, PRESET.format("two"))
    tile(page, "Cloned").click()
    expect(card(page)).to_contain_text("you have not agreed to what it would run", timeout=SLOW)
    button(page, "See what it would run…").click()
    expect(dialog(page)).to_contain_text("GREETING=two")
    press(page, "Agree and start")
    settled(inner_lab(page))


def test_a_broken_preset_file_is_reported_until_it_is_mended(lab: Lab, page: Page) -> None:
    folder = project(lab, "broken", {"mlenv.toml": 'schema = 1\nextends = "host"\n[image]\npipp = ["numpy"]\n'})
    open_lab(page, lab, "broken")
    notice = page.locator(".Toastify__toast", has_text="mlenv.toml")
    expect(notice).to_contain_text("pipp", timeout=SLOW)
    notice.get_by_role("button", name="Details").click()
    expect(dialog(page)).to_contain_text("pipp")
    press(page, "Close")
    notice.get_by_role("button", name="Open File").click()
    editor = page.locator(".jp-FileEditor .cm-content")
    expect(editor).to_contain_text("pipp", timeout=SLOW)
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text('schema = 1\ntitle = "Mended"\nextends = "host"\n')
    page.keyboard.press("Control+S")
    saved = folder / "mlenv.toml"
    # Lets the browser go on between two looks: this is a single-threaded driver.
    wait_until(lambda: page.wait_for_timeout(50) or "Mended" in saved.read_text(), "the file is saved")
    expect(notice).to_have_count(0, timeout=SLOW)
    expect(tile(page, "Mended")).to_have_count(1, timeout=SLOW)


def test_in_the_home_directory_a_folder_is_chosen(lab: Lab, page: Page, console: Console) -> None:
    console.expected.append(r"status of 403 .*/mlenv/api/environments")
    project(lab, "churn-model")
    open_lab(page, lab)
    tile(page, HOST).click()
    button(page, "Choose a folder…").click(timeout=SLOW)
    dialog(page).locator(".jp-DirListing-item", has_text="churn-model").click()
    dialog(page).locator(".jp-Dialog-button.jp-mod-accept").click()
    settled(inner_lab(page))
    assert [Path(e["workspace"]).name for e in lab.environments()] == ["churn-model"]
