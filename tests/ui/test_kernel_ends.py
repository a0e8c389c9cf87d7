"""Kernels that end unasked, and kernels that come and go with their images, as an open JupyterLab shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.leftovers import connect
from tests.support.tabs import HOST, SLOW, open_lab, project
from tests.ui.conftest import BASE_URL
from tests.ui.test_kernels import LOCAL, clear, output, ready, run, switch

SMALL = "Small"
COMING = "Coming"

SMALL_PRESET = f"""\
schema = 1
name = "small"
title = "{SMALL}"
extends = "host"

[resources]
memory = "300m"
"""

COMING_PRESET = f"""\
schema = 1
name = "coming"
title = "{COMING}"

[image]
reference = "{{image}}:1"
"""

GREEDY, MODEST = range(2)

CELLS = {
    GREEDY: """\
blocks = [bytearray(1 << 24) for _ in range(64)]
for block in blocks:
    block[:] = b"1" * len(block)""",
    MODEST: """\
print("six", "times", "seven", "is", 6 * 7)""",
}

ONLY_WHEN_TOLD = """
const setTimeout = window.setTimeout;
window.setTimeout = (call, delay, ...rest) => (delay > 30000 ? 0 : setTimeout(call, delay, ...rest));
"""
"""Lab looks for new kernels about once a minute; a page with this does not."""


@pytest.fixture(scope="module")
def image(owner: str) -> Iterator[str]:
    """The name of an image that is not there yet."""
    image = f"mlenv/{owner}-coming"
    yield image
    with closing(connect()) as client:
        for found in client.images(image):
            client.remove_image(found["RepoTags"][0])


@pytest.fixture(scope="module")
def server(owner: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server with these presets."""
    presets = tmp_path_factory.mktemp("presets")
    (presets / "small.toml").write_text(SMALL_PRESET)
    (presets / "coming.toml").write_text(COMING_PRESET.format(image=image))
    with running_lab(owner, base_url=BASE_URL, options=(f"--MlenvConfig.preset_paths={presets}",)) as lab:
        owned_by_person(lab, presets)
        yield lab


def test_a_kernel_that_runs_out_of_memory_says_so_and_goes_on(lab: Lab, page: Page) -> None:
    open_notebook(page, lab, "greedy", f"{SMALL} (mlenv)", "mlenv-small")
    expect(run(page, GREEDY)).to_contain_text("The kernel ran out of memory", timeout=SLOW)
    expect(output(page, GREEDY)).to_contain_text("300 MiB")
    expect(notifications(page)).to_have_count(1)
    expect(notifications(page)).to_contain_text("greedy.ipynb: The kernel ran out of memory")
    expect(notifications(page)).to_contain_text("300 MiB.")  # a whole sentence
    page.locator(".jp-Dialog", has_text="It will restart automatically").get_by_role("button", name="Ok").click()
    ready(page, f"{SMALL} (mlenv)")
    expect(run(page, MODEST)).to_contain_text("six times seven is 42", timeout=SLOW)
    expect(notifications(page)).to_have_count(1)
    expect(notifications(page)).to_be_in_viewport(ratio=1)
    if pictures := os.environ.get("MLENV_TEST_PICTURES"):  # the user guide's
        page.screenshot(path=Path(pictures) / "kernel-ends.png")

    page.get_by_role("button", name="Restart the kernel", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(notifications(page)).to_have_count(0, timeout=SLOW)


def test_a_kernel_that_ends_with_its_environment_is_brought_back_by_a_click(lab: Lab, page: Page) -> None:
    open_notebook(page, lab, "stopped", LOCAL, "python3")
    switch(page, f"{HOST} (mlenv)")
    expect(run(page, MODEST)).to_contain_text("six times seven is 42", timeout=SLOW)

    stop(page)
    expect(notifications(page)).to_contain_text("stopped.ipynb: The environment", timeout=SLOW)
    expect(notifications(page)).to_contain_text("was stopped")
    assert [e["state"] for e in lab.environments()] == ["stopped"]
    notifications(page).get_by_role("button", name="Restart Kernel").click()
    ready(page, f"{HOST} (mlenv)")
    expect(notifications(page)).to_have_count(0)
    clear(page)
    expect(run(page, MODEST)).to_contain_text("six times seven is 42", timeout=SLOW)
    assert [e["state"] for e in lab.environments()] == ["running"]


def test_the_usual_restart_brings_it_back_for_the_console_too(lab: Lab, page: Page) -> None:
    open_notebook(page, lab, "shared", f"{HOST} (mlenv)", "mlenv-host")
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.get_by_role("menuitem", name="New Console for Notebook").click()
    expect(in_console(page, "print('at', 'first')")).to_contain_text("at first", timeout=SLOW)

    stop(page)
    expect(notifications(page)).to_contain_text("shared.ipynb: The environment", timeout=SLOW)
    expect(notifications(page)).to_have_count(1)
    page.get_by_role("button", name="Restart the kernel", exact=True).click()
    ready(page, f"{HOST} (mlenv)")
    expect(notifications(page)).to_have_count(0)
    expect(run(page, MODEST)).to_contain_text("six times seven is 42", timeout=SLOW)
    expect(in_console(page, "print('once', 'more')")).to_contain_text("once more", timeout=SLOW)
    sessions = [one for one in lab.request("GET", "api/sessions") if one["path"].startswith("shared/")]
    assert len({one["kernel"]["id"] for one in sessions}) == 1


def test_an_open_launcher_follows_the_images(lab: Lab, page: Page, image: str) -> None:
    page.add_init_script(ONLY_WHEN_TOLD)
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    for section in ("Notebook", "Console"):
        expect(kernel(page, section, f"{HOST} (mlenv)")).to_be_visible()
        expect(kernel(page, section, f"{COMING} (mlenv)")).to_have_count(0)
    with closing(connect()) as client:
        client.import_image_from_data(b"\0" * 1024, repository=image, tag="1")
        for section in ("Notebook", "Console"):
            expect(kernel(page, section, f"{COMING} (mlenv)")).to_be_visible(timeout=SLOW)
            expect(kernel(page, section, f"{COMING} (mlenv)").locator("img")).to_be_visible()
        client.remove_image(f"{image}:1")
    for section in ("Notebook", "Console"):
        expect(kernel(page, section, f"{COMING} (mlenv)")).to_have_count(0, timeout=SLOW)
        expect(kernel(page, section, f"{HOST} (mlenv)")).to_be_visible()


def open_notebook(page: Page, lab: Lab, name: str, title: str, kernel: str) -> None:
    """Open a notebook that has this kernel, in a project of its own, and wait for it."""
    metadata = {"kernelspec": {"name": kernel, "display_name": title, "language": "python"}}
    empty: dict[str, object] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**empty, "id": f"cell-{number}", "source": text} for number, text in CELLS.items()]
    text = json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    project(lab, name, {f"{name}.ipynb": text})
    page.goto(lab.page(f"lab/tree/{name}/{name}.ipynb"))
    ready(page, title)


def stop(page: Page) -> None:
    """Stop the environment, in the panel of running things."""
    page.get_by_role("tab", name="Running Terminals and Kernels").click()
    item = page.locator('#jp-running-sessions [data-context="mlenv-environment"]')
    item.hover()
    item.locator('[title="Stop"]').click()
    page.locator(".jp-Dialog").get_by_role("button", name="Stop", exact=True).click()


def in_console(page: Page, code: str) -> Locator:
    """Run code in the console; returns where its output appears."""
    page.locator(".jp-CodeConsole-input .cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    return page.locator(".jp-CodeConsole-content")


def notifications(page: Page) -> Locator:
    """What Lab says in a corner of the page."""
    return page.locator(".Toastify__toast")


def kernel(page: Page, section: str, label: str) -> Locator:
    """A kernel in a section of the launcher."""
    title = page.locator(".jp-Launcher-sectionTitle", has_text=section)
    return page.locator(".jp-Launcher-section").filter(has=title).locator(".jp-LauncherCard", has_text=label)
