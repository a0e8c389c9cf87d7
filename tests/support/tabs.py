"""The parts of our lab extension as a person finds them on the page."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Frame, Locator, Page, expect

from .lab import Lab, owned_by_person
from .waiting import wait_until

SLOW = 120_000
"""Milliseconds that a start may take on a busy machine."""

HOST = "This machine's Python"
"""The tile that needs neither download nor build."""


def project(lab: Lab, name: str, files: dict[str, str] | None = None) -> Path:
    """A project folder in the server's root directory, with files by relative path."""
    folder = lab.root_dir / name
    for path, text in {"requirements.txt": "", **(files or {})}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    owned_by_person(lab, folder)
    return folder


def open_lab(page: Page, lab: Lab, folder: str = "") -> None:
    """Open JupyterLab with its launcher in a folder of the root directory, its tiles drawn."""
    page.goto(lab.page(f"lab/tree/{folder}" if folder else "lab"))
    expect(tile(page, HOST)).to_be_visible(timeout=SLOW)


def tile(page: Page, label: str) -> Locator:
    """A tile of the launcher's section."""
    section = page.locator(".jp-Launcher-section", has_text="ML Environments")
    return section.locator(".jp-LauncherCard").filter(has_text=re.compile(rf"^\s*{re.escape(label)}\s*$"))


def card(page: Page) -> Locator:
    """What the tab in front shows instead of a page: progress, or a notice."""
    return page.locator(".jp-mlenv-Card:visible")


def button(page: Page, label: str) -> Locator:
    """A button of that card."""
    return card(page).get_by_role("button", name=label, exact=True)


def toolbar(page: Page, tooltip: str) -> Locator:
    """A button above the environment's page, by what it says when pointed at."""
    return page.locator(f'.jp-mlenv-MainAreaWidget:visible .jp-Toolbar [title="{tooltip}"]').first


def log_lines(page: Page) -> Locator:
    """The log below the page or the card."""
    return page.locator(".jp-mlenv-Log-lines:visible")


def environment_frame(page: Page, endpoint: str) -> Frame:
    """The frame that shows an endpoint, once it has loaded something."""

    def found() -> Frame | None:
        page.wait_for_timeout(100)  # lets the browser go on: this is a single-threaded driver
        return next(
            (frame for frame in page.frames if f"/{endpoint}/" in frame.url and "/mlenv/envs/" in frame.url), None
        )

    frame = wait_until(found, f"a frame shows {endpoint}", timeout=SLOW / 1000)
    assert frame is not None
    return frame


def inner_lab(page: Page, file: str = "requirements.txt", *, instead_of: Frame | None = None) -> Frame:
    """The environment's own JupyterLab, once it lists this file of the project, and another page is gone."""
    if instead_of is not None:
        wait_until(lambda: page.wait_for_timeout(50) or instead_of.is_detached(), "the earlier page is gone")
    frame = environment_frame(page, "notebook")
    expect(frame.locator(".jp-DirListing-item", has_text=file)).to_be_visible(timeout=SLOW)
    return frame


def remembered(lab: Page | Frame, part: str) -> None:
    """Wait until a JupyterLab has told its server that a tab with this in its name is open, most of a second later.

    A page that is loaded before that opens without it.
    """
    workspaces = """async () => {
      const { baseUrl } = JSON.parse(document.getElementById('jupyter-config-data').textContent);
      return (await fetch(`${baseUrl}lab/api/workspaces`)).text();
    }"""
    wait_until(lambda: part in lab.evaluate(workspaces), f"JupyterLab remembers that {part} is open")


def settled(frame: Frame) -> None:
    """Wait until a page has what it asked for at its start: a test that ends before takes its server away."""
    frame.wait_for_load_state("networkidle")
