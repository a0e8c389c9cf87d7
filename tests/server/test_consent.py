"""A project's preset is asked about once before a start, a kernel or a look uses anything of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv import treewalk
from jupyter_mlenv.errors import ConsentRequired
from jupyter_mlenv.kernels import placement
from tests.support.agreeing import agreed
from tests.support.api import Api
from tests.support.fakes import FakeEngine

OWN = 'title = "Ours"\n[image]\nreference = "registry.test/small:1"\n'
BUILT = '[image]\ndockerfile = "docker/Dockerfile"\ncontext = "."\n'


@pytest.fixture
def project(root: Path) -> Path:
    folder = root / "project"
    folder.mkdir(exist_ok=True)
    (folder / "mlenv.toml").write_text(OWN)
    return folder


async def shown(api: Api, name: str = "project") -> Any:
    """The preset's consent object, as the front end sees it."""
    answer = await api.get("presets?path=project")
    return next(preset for preset in answer.body["presets"] if preset["name"] == name)["consent"]


async def start(api: Api, **body: Any) -> Any:
    return await api.post("environments", {"preset": "project", "path": "project", **body})


async def test_a_start_is_refused_until_the_person_agrees(api: Api, fake: FakeEngine, project: Path) -> None:
    asked = await shown(api)
    assert (asked["file"], asked["folder"]) == (str(project / "mlenv.toml"), str(project))
    assert "It downloads and runs the image registry.test/small:1." in asked["says"]
    refused = await start(api)
    assert (refused.status, refused.body["code"]) == (409, "consent_required")
    assert refused.body["details"]["consent"] == asked
    assert "jupyter mlenv agree" in refused.body["hint"]
    assert fake.calls["create"] == 0

    answer = await api.post("consents", {"folder": asked["folder"], "digest": asked["digest"]})
    assert (answer.status, answer.body) == (204, None)
    assert await shown(api) is None
    begun = await start(api)
    assert begun.status == 202, begun.body
    assert (await api.ended(begun.body["job"]["id"]))["state"] == "done"


async def test_another_content_is_asked_about_again(api: Api, fake: FakeEngine, project: Path) -> None:
    first = await shown(api)
    (project / "mlenv.toml").write_text(OWN + '[env]\nLD_PRELOAD = "/proc/1/cwd/evil.so"\n')
    late = await api.post("consents", {"folder": first["folder"], "digest": first["digest"]})
    assert (late.status, late.body["code"]) == (409, "consent_required")
    fresh = late.body["details"]["consent"]
    assert "It sets the variables LD_PRELOAD=/proc/1/cwd/evil.so." in fresh["says"]
    assert (await start(api)).status == 409
    assert (await api.post("consents", {"folder": fresh["folder"], "digest": fresh["digest"]})).status == 204
    assert await shown(api) is None
    (project / "mlenv.toml").write_text(OWN)
    assert (await shown(api))["digest"] == first["digest"]
    assert (await start(api, recreate=True)).status == 409
    assert fake.calls["create"] == 0


async def test_other_presets_ask_nothing_and_work_beside_it(api: Api, project: Path) -> None:
    answer = await api.get("presets?path=project")
    assert {p["name"] for p in answer.body["presets"] if p["consent"]} == {"project"}
    begun = await api.post("environments", {"preset": "small", "path": "project"})
    assert begun.status == 202
    assert (await api.ended(begun.body["job"]["id"]))["state"] == "done"


async def test_what_runs_already_starts_again_without_a_question(api: Api, project: Path) -> None:
    asked = await shown(api)
    await api.post("consents", {"folder": asked["folder"], "digest": asked["digest"]})
    begun = await start(api)
    await api.ended(begun.body["job"]["id"])
    at = f"environments/{begun.body['environment']['id']}"
    (project / "mlenv.toml").write_text(OWN + '[env]\nA = "b"\n')
    assert (await api.post(f"{at}/stop")).status == 200
    for verb in ("start", "restart"):
        again = await api.post(f"{at}/{verb}")
        assert again.status == 202
        assert (await api.ended(again.body["job"]["id"]))["state"] == "done"


async def test_a_kernel_runs_nothing_of_a_repository_before_that(api: Api, fake: FakeEngine, project: Path) -> None:
    """JupyterLab starts a notebook's kernel as soon as the notebook is opened."""
    begun = await api.post("environments", {"preset": "small", "path": "project"})
    await api.ended(begun.body["job"]["id"])  # the image is there now
    wish = placement.KernelTarget("project", str(project), "0123456789ab")
    with pytest.raises(ConsentRequired) as refused:
        await placement.find(api.environments, wish)
    assert f"jupyter mlenv agree {project}" in refused.value.hint
    assert fake.calls["create"] == 1

    agreed(api.environments, project)
    place = await placement.find(api.environments, wish)
    assert place.options.argv == ()
    (project / "mlenv.toml").write_text(OWN + '[kernel]\nargv = ["evil", "{connection_file}"]\n')
    for _ in ("it runs", "it is stopped"):
        again = await placement.find(api.environments, wish)
        assert (again.environment, again.options.argv) == (place.environment, ()), "as it was made"
        await api.environments.stop(place.environment)
    await api.environments.remove(place.environment)
    with pytest.raises(ConsentRequired):
        await placement.find(api.environments, wish)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "request_invalid"),
        ({"folder": "project", "digest": "0" * 64}, 400, "request_invalid"),
        ({"folder": "/", "digest": "0" * 64 + "\n"}, 400, "request_invalid"),
        ({"folder": "/etc", "digest": "0" * 64}, 403, "workspace_forbidden"),
    ],
)
async def test_a_consent_that_makes_no_sense(api: Api, body: dict[str, Any], status: int, code: str) -> None:
    answer = await api.post("consents", body)
    assert (answer.status, answer.body["code"]) == (status, code)


async def test_a_consent_to_nothing_and_to_a_broken_file(api: Api, root: Path) -> None:
    body = {"folder": str(root / "project"), "digest": "0" * 64}
    answer = await api.post("consents", body)
    assert (answer.status, answer.body["code"]) == (404, "preset_not_found")
    (root / "project" / "mlenv.toml").write_text("name = ")
    answer = await api.post("consents", body)
    assert (answer.status, answer.body["code"]) == (422, "preset_invalid")


async def test_nothing_of_it_is_read_for_a_look(api: Api, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build context is walked, and an image looked for, only after the person has agreed."""
    (project / "docker").mkdir()
    (project / "docker" / "Dockerfile").write_text("FROM scratch\nCOPY . /all\n")
    (project / "mlenv.toml").write_text(BUILT)
    walked: list[str] = []
    real = treewalk.walk

    def walk(top: int, *args: Any, **how: Any) -> Iterator[treewalk.Entry]:
        walked.append(os.readlink(f"/proc/self/fd/{top}"))
        return real(top, *args, **how)

    monkeypatch.setattr(treewalk, "walk", walk)

    async def look() -> Any:
        answer = await api.get("presets?path=project")
        return next(preset for preset in answer.body["presets"] if preset["name"] == "project")

    own = await look()
    assert (own["ready"], walked) == (None, [])
    agreed(api.environments, project)
    assert ((await look())["ready"], walked) == (False, [str(project)]), "this is how it would be seen"
