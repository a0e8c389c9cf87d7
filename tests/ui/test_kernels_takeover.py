"""The Jupyter server dies under an open notebook and is started again: the notebook goes on as if nothing had been."""

from __future__ import annotations

import signal

from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.notebook import new_notebook, run_cell
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, project


def test_a_notebook_outlives_its_server(lab: Lab, page: Page, console: Console) -> None:
    console.expected.append("ERR_CONNECTION_REFUSED")
    project(lab, "survivor")
    page.goto(lab.page("lab/tree/survivor"))
    new_notebook(page, f"{HOST} (mlenv)")
    run_cell(page, page, "answer = 42")
    lab.end(signal.SIGKILL)
    lab.begin()
    expect(page.locator("#jp-main-statusbar")).to_contain_text(f"{HOST} (mlenv) | Idle", timeout=SLOW)
    page.keyboard.press("Escape")
    page.keyboard.press("b")  # a new cell below
    assert "the answer is 42" in run_cell(page, page, "print('the answer is', answer)")
