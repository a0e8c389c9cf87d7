"""Jupyter Notebook 7 has the same kernels in its menu, with no plug-in of its own."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.notebook import run_cell
from tests.support.tabs import HOST, SLOW, project

LOCAL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}


def test_a_notebook_of_notebook_7_is_switched(lab: Lab, page: Page) -> None:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": ""}
    text = json.dumps({"cells": [cell], "metadata": LOCAL, "nbformat": 4, "nbformat_minor": 5})
    project(lab, "seven", {"a.ipynb": text})
    page.goto(lab.page("notebooks/seven/a.ipynb"))
    name = page.locator(".jp-Toolbar-kernelName")
    expect(name).to_have_text("Python 3 (ipykernel)", timeout=SLOW)
    name.click()
    dialog = page.locator(".jp-Dialog")
    dialog.locator("select").select_option(label=f"{HOST} (mlenv)")
    dialog.get_by_role("button", name="Select Kernel").click()
    expect(name).to_have_text(f"{HOST} (mlenv)", timeout=SLOW)
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(timeout=SLOW)
    said = run_cell(page, page, "import os; print('in', os.environ['MLENV_ID'])")
    [environment] = lab.environments()
    assert f"in {environment['id']}" in said
