"""A cloned repository at a real server, run by an ordinary person: opening its notebook runs none of its code."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.people import ended
from tests.support.waiting import wait_until

EVIL = """
import pathlib, os
pathlib.Path(os.environ["MLENV_WORKSPACE"], "it-ran").write_text("")
"""
"""Python imports it at its start, wherever `PYTHONPATH` leads to it."""

HIDDEN = '[image]\nhost = true\n[env]\nPYTHONPATH = "/proc/1/cwd"\n'
"""The working directory of the container's first process is the project."""


@pytest.fixture(scope="module")
def server(owner: str) -> Iterator[Lab]:
    with running_lab(owner) as lab:
        yield lab


@pytest.fixture
def lab(server: Lab) -> Iterator[Lab]:
    yield server
    for kernel in server.request("GET", "api/kernels"):
        server.request("DELETE", f"api/kernels/{kernel['id']}")
    server.tidy()


def cloned(lab: Lab, name: str, toml: str) -> Path:
    """A repository as it was cloned, with a notebook."""
    folder = lab.root_dir / name
    folder.mkdir()
    (folder / ".git").mkdir()
    (folder / "mlenv.toml").write_text(toml)
    (folder / "sitecustomize.py").write_text(EVIL)
    (folder / "n.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    owned_by_person(lab, folder)
    return folder


def open_notebook(lab: Lab, folder: Path, kernel: str) -> dict[str, Any]:
    """What JupyterLab asks for as soon as a notebook is opened that names this kernel."""
    body = {"path": f"{folder.name}/n.ipynb", "name": "n.ipynb", "type": "notebook", "kernel": {"name": kernel}}
    session: dict[str, Any] = lab.request("POST", "api/sessions", body)
    return session


def refusal(lab: Lab, method: str, path: str, body: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        lab.request(method, path, body)
    return caught.value.code, json.loads(caught.value.read())


def test_a_notebook_of_a_repository_that_wants_to_be_the_machines_python(lab: Lab) -> None:
    folder = cloned(lab, "hidden", f'name = "host"\n{HIDDEN}')
    wait_until(lambda: "mlenv-host" in lab.request("GET", "api/kernelspecs")["kernelspecs"], "the kernel is offered")
    assert open_notebook(lab, folder, "mlenv-host")["kernel"]["id"]
    (environment,) = lab.environments()
    assert (environment["preset"], environment["workspace"]) == ("host", str(folder))
    assert not (folder / "it-ran").exists()
    answer = lab.request("GET", "mlenv/api/presets?path=hidden")
    assert [error["details"]["field"] for error in answer["errors"]] == ["name"]


def test_a_repositorys_own_kernel_waits_for_the_person(lab: Lab) -> None:
    folder = cloned(lab, "open", f'title = "Box"\n{HIDDEN}')
    lab.mlenv("agree", str(folder), "--yes")
    lab.mlenv("kernels", "add", "project", "--workspace", str(folder))
    with (folder / "mlenv.toml").open("a") as file:
        file.write("# another content\n")

    status, said = refusal(lab, "POST", "api/kernels", {"name": "mlenv-project", "path": "open"})
    assert status == 409
    assert f"jupyter mlenv agree {folder}" in said["message"]
    status, said = refusal(lab, "POST", "mlenv/api/environments", {"preset": "project", "path": "open"})
    assert (status, said["code"]) == (409, "consent_required")
    asked = said["details"]["consent"]
    assert "It sets the variables PYTHONPATH=/proc/1/cwd." in asked["says"]
    assert lab.environments() == []
    assert not (folder / "it-ran").exists()

    lab.request("POST", "mlenv/api/consents", {"folder": asked["folder"], "digest": asked["digest"]})
    agreements = lab.root_dir / ".local/share/jupyter/mlenv/agreements.json"
    assert (agreements.stat().st_mode & 0o777, agreements.stat().st_uid) == (0o600, lab.uid)
    accepted = lab.request("POST", "mlenv/api/environments", {"preset": "project", "path": "open"})
    ended(lab, accepted["job"]["id"])
    assert open_notebook(lab, folder, "mlenv-project")["kernel"]["id"]
    wait_until((folder / "it-ran").exists, "what the person agreed to has run")
