"""Terminals and kernels of the inner JupyterLab, whose WebSockets go through the proxy."""

from __future__ import annotations

from contextlib import closing

from playwright.sync_api import Frame, Page, expect

from tests.support.lab import Lab
from tests.support.leftovers import connect
from tests.support.notebook import new_notebook
from tests.support.tabs import HOST, SLOW, inner_lab, open_lab, project, tile
from tests.support.waiting import wait_until


def test_a_terminal_and_an_interrupt(lab: Lab, page: Page) -> None:
    project(lab, "churn-model")
    open_lab(page, lab, "churn-model")
    tile(page, HOST).click()
    inner = inner_lab(page)
    [environment] = lab.environments()

    readable_terminals(inner)
    inner.goto(inner.url)
    inner.locator(".jp-LauncherCard", has_text="Terminal").click(timeout=SLOW)
    inner.locator(".jp-Terminal .xterm-screen").click(timeout=SLOW)
    page.keyboard.type("echo this is $MLENV_ID, in $PWD\n")
    # In the tree for screen readers each word is a node of its own.
    spoken = inner.locator(".jp-Terminal .xterm-accessibility-tree")
    expect(spoken).to_contain_text(f"this is {environment['id']}, in {environment['workspace']}", timeout=SLOW)

    inner.locator('.jp-FileBrowser [data-command="launcher:create"]').click()
    new_notebook(inner)
    cell = inner.locator(".jp-NotebookPanel .jp-CodeCell").last
    cell.locator(".cm-content").click()
    page.keyboard.insert_text("import threading\nprint('it', 'waits', flush=True)\nthreading.Event().wait()")
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("it waits", timeout=SLOW)
    inner.get_by_role("button", name="Interrupt the kernel").click()
    expect(cell.locator(".jp-OutputArea")).to_contain_text("KeyboardInterrupt", timeout=SLOW)


SITE = """
mkdir -p /tmp/site && echo '<h1>From a port</h1><a href="more.html">more</a>' >/tmp/site/index.html
echo '<h1>More of it</h1>' >/tmp/site/more.html
exec python3 -m http.server -d /tmp/site 8765
"""


def test_a_web_app_is_opened_by_its_port(lab: Lab, page: Page) -> None:
    """One that knows of no prefix, found by itself."""
    project(lab, "website")
    open_lab(page, lab, "website")
    tile(page, HOST).click()
    inner_lab(page)
    [environment] = lab.environments()
    with closing(connect()) as client:
        begun = client.exec_create(f"mlenv-{environment['id']}", ["sh", "-c", SITE])
        client.exec_start(begun["Id"], detach=True)
    at = f"mlenv/api/environments/{environment['id']}/ports"
    wait_until(lambda: lab.request("GET", at)["ports"], "the web server listens")
    page.get_by_title("Open a web app by its port").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog.locator("option")).to_have_text("8765 — http.server")
    with page.context.expect_page() as opened:
        dialog.get_by_role("button", name="Ok").click()
    site = opened.value
    expect(site.get_by_role("heading")).to_have_text("From a port", timeout=SLOW)
    site.get_by_role("link", name="more").click()
    expect(site.get_by_role("heading")).to_have_text("More of it", timeout=SLOW)


def readable_terminals(lab: Frame) -> None:
    """Have terminals write their text for screen readers, too, from the next page load on: they draw it on a canvas."""
    done = lab.evaluate(
        """async () => {
          const { fullAppUrl } = JSON.parse(document.getElementById('jupyter-config-data').textContent);
          const body = JSON.stringify({ raw: '{"screenReaderMode": true}' });
          const url = `${fullAppUrl}/api/settings/@jupyterlab/terminal-extension:plugin`;
          return (await fetch(url, { method: 'PUT', body })).status;
        }"""
    )
    assert done == 204
