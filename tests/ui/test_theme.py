"""The look of what is inside a tab."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.lab import Lab
from tests.support.tabs import HOST, inner_lab, open_lab, project, tile

SETTING = "lab/api/settings/@jupyterlab/apputils-extension:themes"


@pytest.fixture
def dark(lab: Lab) -> Iterator[Lab]:
    """The server of a person who has chosen the dark theme."""
    lab.request("PUT", SETTING, {"raw": json.dumps({"theme": "JupyterLab Dark"})})
    yield lab
    lab.request("PUT", SETTING, {"raw": "{}"})


def test_the_inner_lab_is_dark_where_the_outer_one_is(dark: Lab, page: Page) -> None:
    project(dark, "churn-model")
    open_lab(page, dark, "churn-model")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", "JupyterLab Dark")
    tile(page, HOST).click()
    expect(inner_lab(page).locator("body")).to_have_attribute("data-jp-theme-name", "JupyterLab Dark")
