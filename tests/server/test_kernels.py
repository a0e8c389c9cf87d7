"""Kernels and clicks in one server: both work on the same environments, with the same jobs.

The pretended engine has no container for a kernel's process, so none gets further than its environment here.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jupyter_mlenv.kernels import kernelspec
from jupyter_mlenv.presets import loader
from tests.support.api import TOKEN, Api
from tests.support.fakes import FakeEngine
from tests.support.reporting import Recorder
from tests.support.waiting import eventually

START = {"preset": "small", "path": "project"}


@pytest.fixture
def kernel_name(api: Api) -> str:
    """The kernelspec of the preset `small`."""
    presets, broken = loader.load(api.environments.settings)
    spec = kernelspec.kernel_json(loader.find("small", presets, broken))
    name = kernelspec.spec_name("small")
    folder = api.root.parent / "jupyter_data_dir" / "kernels" / name
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    return name


async def ask_for_kernel(api: Api, name: str) -> tuple[int, Any]:
    """Start a kernel in the project, as a notebook does; the answer's status and body."""
    url = api.url("x").parent.parent.parent / "api" / "sessions"
    body = {"path": "project/a.ipynb", "type": "notebook", "name": "a", "kernel": {"name": name}}
    headers = {"Authorization": f"token {TOKEN}"}
    async with api.session.post(url, data=json.dumps(body), headers=headers) as answer:
        return answer.status, await answer.json()


async def jobs(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("jobs")).body["jobs"]
    return found


async def test_what_a_kernel_starts_is_a_job_that_a_click_joins(api: Api, fake: FakeEngine, kernel_name: str) -> None:
    await fake.pull("registry.test/small:1", Recorder())
    fake.delays["create"] = 1.0
    kernel = asyncio.create_task(ask_for_kernel(api, kernel_name))
    [job] = await eventually(lambda: jobs(api), "the kernel's start is a job")
    clicked = await api.post("environments", START)
    assert clicked.body["job"]["id"] == job["id"]
    assert (await api.ended(job["id"]))["state"] == "done"
    await kernel
    assert len(await jobs(api)) == 1
    assert fake.calls["create"] == 1


async def test_a_kernel_does_not_wait_for_the_build_of_a_click(api: Api, fake: FakeEngine, kernel_name: str) -> None:
    fake.delays["pull"] = 60.0
    clicked = await api.post("environments", START)
    status, answer = await ask_for_kernel(api, kernel_name)
    assert status == 500
    assert "is being made ready just now, and a kernel does not wait for a build" in answer["message"]
    assert [job["state"] for job in await jobs(api)] == ["running"]  # and the click's goes on
    await api.post(f"environments/{clicked.body['environment']['id']}/stop")
