"""Images that are built by a click: what is seen meanwhile, cancelling, failing, trying again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.lab import Lab, owned_by_person
from tests.support.leftovers import connect
from tests.support.observed import recorded_progress
from tests.support.tabs import SLOW, button, card, environment_frame, inner_lab, log_lines, open_lab, project, tile
from tests.support.waiting import wait_until

PACKAGES = """\
schema = 1
name = "{name}"
title = "Small Python"

[image]
base = "docker.io/library/python:3.12-slim-bookworm"
pip = ["six", "idna!=0.0.{nonce}"]
"""

OWN_DOCKERFILE = """\
schema = 1
name = "{name}"
title = "Own Dockerfile"

[image]
dockerfile = "Dockerfile"

# Ready at once, since this is about the build: a page that the build has made.
[endpoints.notebook]
open = ""
command = ["{{python}}", "-c", '''
import http.server

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("/page", "rb").read())

http.server.HTTPServer(("127.0.0.1", int("{{port}}")), Page).serve_forever()
''']
"""


@pytest.fixture
def name(lab: Lab, owner: str) -> Iterator[str]:
    """The name of one test's preset; its images are removed afterwards."""
    name = f"{owner}-{secrets.token_hex(2)}"
    yield name
    lab.tidy()  # an image that a container uses would only lose its tag
    with closing(connect()) as client:
        for tag in images(name):
            client.remove_image(tag)


@pytest.fixture
def own(lab: Lab, name: str) -> Path:
    """A project with a Dockerfile of its own, yet to be written."""
    return project(lab, name, {"mlenv.toml": OWN_DOCKERFILE.format(name=name)})


def write_dockerfile(lab: Lab, folder: Path, base: str, step: str) -> None:
    """Write it, and agree to it as the project's person."""
    (folder / "Dockerfile").write_text(f"FROM {base}\nRUN {step}\nRUN echo this is the page of {folder.name} > /page\n")
    owned_by_person(lab, folder)
    lab.mlenv("agree", str(folder), "--yes")


def images(name: str) -> list[str]:
    """The tags of what was built for a preset."""
    with closing(connect()) as client:
        return [tag for image in client.images(f"mlenv/{name}") for tag in image["RepoTags"] or []]


def processes(mark: str) -> list[str]:
    """The command lines with this word in them, steps of builds included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [command for command in found if mark in command]


def expect_page(page: Page, name: str) -> None:
    """The page that the build has made is there."""
    expect(environment_frame(page, "notebook").locator("body")).to_have_text(f"this is the page of {name}")


def test_a_build_is_followed_step_by_step_to_the_inner_lab(lab: Lab, page: Page, name: str) -> None:
    # The nonce keeps the last layer out of the engine's build cache: something is really installed.
    folder = project(lab, name, {"mlenv.toml": PACKAGES.format(name=name, nonce=secrets.randbelow(10**9))})
    lab.mlenv("agree", str(folder), "--yes")
    open_lab(page, lab, name)
    tile(page, "Small Python").click()
    inner_lab(page)

    shown = recorded_progress(page)
    steps = list(dict.fromkeys(state.step for state in shown))
    assert steps == ["Prepare", "Build", "Start", "JupyterLab"]
    counted = [state for state in shown if state.step == "Build" and "steps" in state.numbers]
    assert any(state.message.startswith("Installing six, idna") for state in counted), counted
    percents = [state.percent for state in counted if state.percent is not None]
    assert len(percents) == len(counted)
    assert percents == sorted(percents)
    assert len(images(name)) == 1


def test_a_build_is_watched_cancelled_and_started_again(lab: Lab, page: Page, own: Path, base_image: str) -> None:
    name = own.name
    write_dockerfile(
        lab, own, base_image, f'i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo "{name} $i"; sleep 0.1; done'
    )
    open_lab(page, lab, name)
    tile(page, "Own Dockerfile").click()
    expect(card(page)).to_contain_text("RUN i=0", timeout=SLOW)
    button(page, "Show log").click()
    expect(log_lines(page)).to_contain_text(f"{name} 3", timeout=SLOW)
    expect(log_lines(page)).to_contain_text(f"{name} 30", timeout=SLOW)

    button(page, "Cancel").click()
    expect(card(page)).to_contain_text("Cancelled", timeout=SLOW)
    wait_until(lambda: not processes(name), "the build's step has ended")
    assert lab.environments() == []
    assert images(name) == []

    write_dockerfile(lab, own, base_image, f"echo {name} is quick now")
    button(page, "Start again").click()
    expect_page(page, name)


def test_a_failing_build_names_its_step_and_can_be_tried_again(
    lab: Lab, page: Page, own: Path, base_image: str
) -> None:
    name = own.name
    write_dockerfile(lab, own, base_image, f"exec 2>&1; echo {name}; seq 100; cat /no/such/file")
    open_lab(page, lab, name)
    tile(page, "Own Dockerfile").click()
    message = card(page).locator(".jp-mlenv-Error-message")
    expect(message).to_contain_text(f"RUN exec 2>&1; echo {name}; seq 100; cat /no/such/file", timeout=SLOW)
    expect(message).to_contain_text("exit code 1")
    expect(card(page).locator("pre")).to_contain_text("No such file or directory")
    expect(card(page).locator("pre")).to_contain_text("100")
    expect(card(page).locator(".jp-mlenv-Error-hint")).to_contain_text("correct")
    button(page, "Show log").click()
    expect(log_lines(page)).to_contain_text(f"\n{name}\n")
    assert lab.environments() == []
    assert images(name) == []

    write_dockerfile(lab, own, base_image, f"echo {name} is right now")
    button(page, "Try again").click()
    expect_page(page, name)
