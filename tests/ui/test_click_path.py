"""What a person does: a click on a tile, work in the environment's own JupyterLab, a look at TensorBoard."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.events import write_scalars
from tests.support.lab import Lab, owned_by_person
from tests.support.notebook import new_notebook, run_cell
from tests.support.observed import Console
from tests.support.tabs import HOST, SLOW, environment_frame, inner_lab, open_lab, project, remembered, tile


def test_a_click_opens_the_environments_own_lab_and_tensorboard(lab: Lab, page: Page, console: Console) -> None:
    folder = project(lab, "my project é", {"data/in.csv": "x,y\n1,10\n2,20\n3,30\n"})
    write_scalars(folder / "runs" / "first", "loss", [1.0, 0.5, 0.25, 0.125])
    owned_by_person(lab, folder)
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.is_navigation_request() else None)
    open_lab(page, lab, "my project é/data")
    tile(page, HOST).click()

    inner = inner_lab(page)
    # The page around it, and the page inside: once each.
    assert len(loads) == 2 or console.network_changed, loads
    new_notebook(inner)
    output = run_cell(
        page,
        inner,
        "import pandas as pd, os\n"
        "frame = pd.read_csv('data/in.csv')\n"
        "frame.assign(z=frame.x * frame.y).to_csv('data/out.csv', index=False)\n"
        "print('sum', frame.y.sum(), os.getcwd())",
    )
    assert f"sum 60 {folder}" in output
    written = folder / "data" / "out.csv"
    assert written.read_text().splitlines()[-1] == "3,30,90"
    assert (written.stat().st_uid, written.stat().st_gid) == (lab.uid, lab.root_dir.stat().st_gid)

    page.get_by_role("button", name="TensorBoard").first.click()
    board = environment_frame(page, "tensorboard")
    expect(board.get_by_text("loss", exact=True).first).to_be_visible(timeout=SLOW)
    # The plotted line itself, not only the name of its card.
    expect(board.locator("card-view line-chart, card-view svg path, card-view canvas").first).to_be_visible(
        timeout=SLOW
    )

    remembered(inner, "Untitled.ipynb")
    remembered(page, "tensorboard")
    page.reload()
    environment_frame(page, "tensorboard")
    page.locator(".lm-TabBar-tab", has_text=HOST).click()
    expect(inner_lab(page).locator(".lm-TabBar-tab", has_text="Untitled.ipynb")).to_be_visible(timeout=SLOW)


def test_what_a_start_has_noticed_is_told(lab: Lab, page: Page, console: Console) -> None:
    """Links that lead out of the project are mounted by nobody, so a person has to hear of them."""
    folder = project(lab, "linked", {"a.txt": "1"})
    (lab.root_dir / "big").mkdir()
    (folder / "data").symlink_to(lab.root_dir / "big")
    owned_by_person(lab, folder)
    open_lab(page, lab, "linked")
    tile(page, HOST).click()
    inner_lab(page)
    said = page.locator(".Toastify__toast")
    expect(said).to_contain_text(f"data leads to {lab.root_dir}/big, which the environment does not have", timeout=SLOW)
    said.get_by_role("button", name="Details").click()
    expect(page.locator(".jp-Dialog")).to_contain_text(f'source = "{lab.root_dir}/big"')
