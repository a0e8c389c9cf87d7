"""Driving a notebook in a JupyterLab page or frame."""

from __future__ import annotations

import re

from playwright.sync_api import Frame, Page, expect


def new_notebook(lab: Frame | Page, kernel: str = "Python 3 (ipykernel)") -> None:
    """A new notebook from the launcher, its kernel ready."""
    title = lab.locator(".jp-Launcher-sectionTitle", has_text=re.compile("^Notebook$"))
    section = lab.locator(".jp-Launcher-section").filter(has=title)
    section.locator(".jp-LauncherCard", has_text=kernel).first.click(timeout=60_000)
    expect(lab.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible(timeout=60_000)
    # A cell that is run before the kernel is connected is quietly not run. The toolbar says "idle" before that already.
    expect(lab.locator("#jp-bottom-panel, #jp-main-statusbar").last).to_contain_text(f"{kernel} | Idle", timeout=60_000)


def run_cell(page: Page, lab: Frame | Page, code: str) -> str:
    """Type code into the notebook's last cell, run it, and give its text output once it has finished.

    The output is waited for by a line that the cell itself prints last.
    """
    cell = lab.locator(".jp-NotebookPanel .jp-CodeCell").last
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(f"{code}\nprint('cell', 'has', 'run')")
    page.keyboard.press("Control+Enter")
    output = cell.locator(".jp-OutputArea")
    expect(output).to_contain_text("cell has run", timeout=120_000)
    return output.inner_text()
