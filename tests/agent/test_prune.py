"""What prune removes, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.errors import EngineError
from jupyter_mlenv.planning.model import ISOLATED, StartRequest
from tests.agent.test_environments import opened
from tests.support.fakes import FakeEngine
from tests.support.fakes import _image as image

BUILT = 'name = "built"\ntitle = "B"\n[image]\nbase = "registry.test/small:1"\npip = {pip}\n'


@pytest.fixture
def write(presets: Path):
    def write(pip: str) -> None:
        (presets / "built.toml").write_text(BUILT.format(pip=pip))

    return write


@pytest.fixture
def engine(person):
    return FakeEngine(agent=True)


async def names(environments) -> set[str]:
    return {name for image in (await environments.unused()).images for name in image.names}


async def test_images_that_a_preset_has_left_behind_go(engine, person, write, workspace) -> None:
    write('["a"]')
    async with opened(engine, person) as environments:
        request = StartRequest("built", str(workspace))
        first = await (await environments.start(request))[1].wait()
        assert await names(environments) == set()
        write('["a", "b"]')
        assert await names(environments) == set(), "an environment is made from it"
        await environments.stop(first.id)
        assert await names(environments) == set(), "also one that is stopped"
        second = await (await environments.start(replace(request, recreate=True)))[1].wait()
        assert await names(environments) == {first.image}
        await environments.remove(second.id)
        assert await names(environments) == {first.image}, "the preset means the second one"

        engine.cache = 5
        pruned = await environments.prune(await environments.unused())
        assert [i.names for i in pruned.images] == [(first.image,)]
        assert (pruned.cache, engine.cache) == (0, 5)
        assert set(engine.store) >= {second.image}
        assert first.image not in engine.store
        assert (await environments.prune(await environments.unused(), cache=True)).cache == 5


async def test_images_of_others_stay(engine, person, write, workspace) -> None:
    """What somebody has built upon ours has its labels; what a broken preset means is not known."""
    labels = {f"{LABEL}.preset": "python"}
    for name in ("theirs/app:1", "mlenv/broken:0", "mlenv/gone:0"):
        engine._add_image(image(name, labels={f"{LABEL}.preset": name.split("/")[1].split(":")[0]}))
    engine._add_image(replace(image("mlenv/python:0", labels=labels), tags=("mlenv/python:0", "theirs/python:1")))
    (Path(person.preset_paths[0]) / "broken.toml").write_text("[image")
    async with opened(engine, person) as environments:
        assert await names(environments) == {"mlenv/gone:0"}


async def test_one_that_is_used_by_then_stays(engine, person, workspace) -> None:
    engine._add_image(image("mlenv/gone:0", labels={f"{LABEL}.preset": "gone"}))
    async with opened(engine, person) as environments:
        engine.fail("remove_image", EngineError("conflict: it is in use"))
        assert (await environments.prune(await environments.unused())).images == ()


async def test_only_what_an_ended_kernel_left_is_removed_with_its_container(
    engine, person, write, workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('["a"]')
    async with opened(engine, person) as environments:
        kept = await (await environments.start(StartRequest("built", str(workspace))))[1].wait()
        left = await (await environments.start(StartRequest("built", str(workspace), name=f"{ISOLATED}x")))[1].wait()
        for environment in (kept, left):
            await environments.stop(environment.id)
        assert (await environments.unused()).environments == (), "its client may be removing it just now"
        for box in engine.containers.values():
            box.info = replace(box.info, created=box.info.created - timedelta(hours=1))
        assert [e.id for e in (await environments.unused()).environments] == [left.id]
        await environments.prune(await environments.unused())
        assert [(e.id, e.state) for e in await environments.list()] == [(kept.id, State.STOPPED)]
