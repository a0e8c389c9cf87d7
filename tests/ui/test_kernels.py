"""A notebook of the outer JupyterLab is switched to the kernel of an environment, and everything works as before."""

from __future__ import annotations

import json
import os
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.lab import Lab
from tests.support.tabs import HOST, SLOW, project

LOCAL = "Python 3 (ipykernel)"
OURS = f"{HOST} (mlenv)"

CHURN, PLOT, SLIDER, LONG, PLACE, DEBUGGED = range(6)

CELLS = {
    CHURN: """\
import pandas as pd

frame = pd.read_csv("customers.csv")
frame.groupby("plan").churned.mean()""",
    PLOT: """\
%matplotlib inline
frame.groupby("plan").churned.mean().plot.barh(figsize=(6, 1.6));""",
    SLIDER: """\
import ipywidgets

months = ipywidgets.IntSlider(value=3, description="Months")
months""",
    LONG: """\
import time
print("it", "trains", flush=True)
time.sleep(600)""",
    PLACE: """\
import os
print("in", os.environ.get("MLENV_ID", "no environment"))
print("months:", months.value if "months" in dir() else "forgotten")""",
    DEBUGGED: """\
rates = {"basic": 31, "team": 11}
worst = max(rates, key=rates.get)
print("the", "worst", "is", worst)""",
}

CUSTOMERS = "plan,churned\nbasic,1\nbasic,0\nteam,0\nteam,0\nteam,1\nteam,0\nfree,1\nfree,1\nfree,0\n"


def test_a_notebook_is_switched_to_an_environment_and_back(lab: Lab, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    folder = project(lab, "churn-model", {"churn.ipynb": notebook(), "customers.csv": CUSTOMERS})
    page.goto(lab.page("lab/tree/churn-model/churn.ipynb"))
    ready(page, LOCAL)
    expect(run(page, PLACE)).to_contain_text("in no environment", timeout=SLOW)

    run(page, CHURN)
    expect(run(page, PLOT).locator("img")).to_be_visible(timeout=SLOW)
    switch(page, OURS, picture="kernel.png")
    [environment] = lab.environments()
    assert environment["workspace"] == str(folder)
    expect(run(page, PLACE)).to_contain_text(f"in {environment['id']}", timeout=SLOW)
    expect(output(page, PLACE)).to_contain_text("months: forgotten")

    clear(page)
    expect(run(page, CHURN)).to_contain_text("0.25", timeout=SLOW)
    expect(run(page, PLOT).locator("img")).to_be_visible(timeout=SLOW)
    slider = run(page, SLIDER).locator(".widget-slider")
    expect(slider).to_contain_text("Months", timeout=SLOW)
    slider.locator(".noUi-handle").press("ArrowRight")
    expect(slider.locator(".widget-readout")).to_have_text("4")
    expect(run(page, PLACE)).to_contain_text("months: 4", timeout=SLOW)

    expect(run(page, LONG)).to_contain_text("it trains", timeout=SLOW)
    page.get_by_role("button", name="Interrupt the kernel").click()
    expect(output(page, LONG)).to_contain_text("KeyboardInterrupt", timeout=SLOW)
    slider.locator(".noUi-handle").press("ArrowRight")
    expect(run(page, PLACE)).to_contain_text("months: 5", timeout=SLOW)

    page.get_by_role("button", name="Restart the kernel", exact=True).click()
    with page.expect_response(lambda answer: answer.url.split("?")[0].endswith("/restart"), timeout=SLOW):
        page.get_by_role("button", name="Confirm Kernel Restart").click()
    ready(page, OURS)
    expect(run(page, PLACE)).to_contain_text("months: forgotten", timeout=SLOW)
    expect(output(page, PLACE)).to_contain_text(f"in {environment['id']}")

    debug(page)

    switch(page, LOCAL)
    expect(run(page, PLACE)).to_contain_text("in no environment", timeout=SLOW)
    assert [one["id"] for one in lab.environments()] == [environment["id"]]


def debug(page: Page) -> None:
    """Stop at a breakpoint on the last line of a cell, look at what it has computed, and go on."""
    page.locator(".jp-NotebookPanel .jp-DebuggerBugButton").click()
    gutter = cell(page, DEBUGGED).locator(".cm-breakpoint-gutter .cm-gutterElement:visible")
    expect(gutter).to_have_count(3, timeout=SLOW)
    gutter.nth(2).click()
    expect(page.locator(".jp-DebuggerBreakpoint")).to_have_count(1, timeout=SLOW)
    run(page, DEBUGGED)
    worst = page.locator(".jp-DebuggerVariables-body jp-tree-item", has_text="worst")
    expect(worst.locator(".jp-DebuggerVariables-detail")).to_have_text("basic", timeout=SLOW)
    expect(output(page, DEBUGGED)).not_to_contain_text("the worst is")
    page.locator(".jp-DebuggerSidebar").get_by_role("button", name="Continue").click()
    expect(output(page, DEBUGGED)).to_contain_text("the worst is basic", timeout=SLOW)
    ready(page, OURS)
    page.locator('.jp-SideBar [data-id="jp-debugger-sidebar"]').click()  # beside it the toolbar has no room for all
    expect(page.locator(".jp-DebuggerSidebar")).to_be_hidden()


def notebook() -> str:
    """The text of a notebook for the local kernel."""
    metadata = {"kernelspec": {"name": "python3", "display_name": LOCAL, "language": "python"}}
    empty: dict[str, object] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**empty, "id": f"cell-{number}", "source": text} for number, text in CELLS.items()]
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def cell(page: Page, number: int) -> Locator:
    """A cell of the notebook."""
    return page.locator(".jp-NotebookPanel .jp-CodeCell").nth(number)


def output(page: Page, number: int) -> Locator:
    """Where the output of a cell appears."""
    return cell(page, number).locator(".jp-OutputArea")


def run(page: Page, number: int) -> Locator:
    """Run a cell; returns where its output appears."""
    cell(page, number).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return output(page, number)


def clear(page: Page) -> None:
    """Take the outputs of all cells away, so that what is there later is new."""
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    expect(page.locator(".jp-NotebookPanel .jp-OutputArea-child")).to_have_count(0)


def ready(page: Page, kernel: str) -> None:
    """Wait until the notebook's kernel is this one and does nothing."""
    expect(page.locator("#jp-main-statusbar")).to_contain_text(f"{kernel} | Idle", timeout=SLOW)


def switch(page: Page, kernel: str, picture: str = "") -> None:
    """Choose another kernel, as a person does: by a click on the name of the one that it has.

    The user guide's picture of it is saved in the folder that `$MLENV_TEST_PICTURES` names.
    """
    page.locator(".jp-NotebookPanel .jp-Toolbar-kernelName").click()
    dialog = page.locator(".jp-Dialog")
    dialog.locator("select").select_option(label=kernel)
    if picture and (pictures := os.environ.get("MLENV_TEST_PICTURES")):
        page.screenshot(path=Path(pictures) / picture)
    dialog.get_by_role("button", name="Select Kernel").click()
    ready(page, kernel)
