"""What a person does: a click on a tile, work in the environment's own JupyterLab, a look at TensorBoard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, expect

from tests.support.events import write_scalars
from tests.support.lab import Lab, owned_by_person
from tests.support.notebook import new_notebook, run_cell
from tests.support.waiting import wait_until

SLOW = 120_000
"""Milliseconds that a start may take on a busy machine."""


@pytest.fixture
def project(lab: Lab) -> Path:
    folder = lab.root_dir / "my project é"
    (folder / "data").mkdir(parents=True)
    (folder / "requirements.txt").write_text("pandas\n")
    (folder / "data" / "in.csv").write_text("x,y\n1,10\n2,20\n3,30\n")
    write_scalars(folder / "runs" / "first", "loss", [1.0, 0.5, 0.25, 0.125])
    owned_by_person(lab, folder)
    return folder


def test_a_click_opens_the_environments_own_lab_and_tensorboard(lab: Lab, project: Path, page: Page) -> None:
    page.goto(lab.page("lab/tree/my project é/data"))
    tile(page, "This machine's Python").click()

    inner = environment_frame(page, "notebook")
    expect(inner.locator(".jp-DirListing-item", has_text="data")).to_be_visible(timeout=SLOW)
    new_notebook(inner)
    output = run_cell(
        page,
        inner,
        "import pandas as pd, os\n"
        "frame = pd.read_csv('data/in.csv')\n"
        "frame.assign(z=frame.x * frame.y).to_csv('data/out.csv', index=False)\n"
        "print('sum', frame.y.sum(), os.getcwd())",
    )
    assert f"sum 60 {project}" in output
    written = project / "data" / "out.csv"
    assert written.read_text().splitlines()[-1] == "3,30,90"
    assert written.stat().st_uid == lab.uid
    assert written.stat().st_gid == lab.uid if lab.uid == 12345 else True

    page.get_by_role("button", name="TensorBoard").first.click()
    board = environment_frame(page, "tensorboard")
    expect(board.get_by_text("loss", exact=True).first).to_be_visible(timeout=SLOW)
    # The plotted line itself, not only the name of its card.
    expect(board.locator("card-view line-chart, card-view svg path, card-view canvas").first).to_be_visible(
        timeout=SLOW
    )

    page.reload()
    environment_frame(page, "tensorboard")
    page.locator(".lm-TabBar-tab", has_text="This machine's Python").first.click()
    inner = environment_frame(page, "notebook")
    expect(inner.locator(".jp-DirListing-item", has_text="data")).to_be_visible(timeout=SLOW)


def tile(page: Page, label: str):
    """A tile of the launcher's section."""
    section = page.locator(".jp-Launcher-section", has_text="ML Environments")
    return section.locator(".jp-LauncherCard").filter(has_text=re.compile(rf"^\s*{re.escape(label)}\s*$"))


def environment_frame(page: Page, endpoint: str) -> Frame:
    """The frame that shows an endpoint, once it has loaded something."""

    address = re.compile(rf"/mlenv/envs/[^/]+/{endpoint}/")

    def found() -> Frame | None:
        page.wait_for_timeout(100)  # lets the browser go on: this is a single-threaded driver
        return next((frame for frame in page.frames if address.search(frame.url)), None)

    frame = wait_until(found, f"a frame shows {endpoint}", timeout=SLOW / 1000)
    assert frame is not None
    return frame
