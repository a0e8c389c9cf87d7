"""Labels that somebody else wrote: one odd container hides no other, whatever its labels say."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.engines.gpus import EVERY
from jupyter_mlenv.engines.model import ContainerSpec, Mount, Resources
from jupyter_mlenv.environments import from_container
from jupyter_mlenv.environments.model import State
from jupyter_mlenv.planning import dockerfile
from jupyter_mlenv.planning import label as planlabel
from jupyter_mlenv.planning.model import ImagePlan, Plan
from jupyter_mlenv.presets.model import Endpoint, KernelOptions

PLAN = Plan(
    id="box-0123456789",
    preset="box",
    title="Box",
    owner="ann",
    workspace="/w",
    name="",
    image=ImagePlan("build", "mlenv/box:1"),
    container=ContainerSpec(
        name="mlenv-box-0123456789",
        image="mlenv/box:1",
        command=("python3", "/opt/jupyter-mlenv/start.py", "--token", "/opt/jupyter-mlenv/token"),
        mounts=(Mount("/w", "/w"), Mount("/d", "/d", read_only=True)),
        resources=Resources(memory=1 << 30, cpus=1.5, pids=100, gpus=EVERY),
        publish=(8700,),
    ),
    endpoints=(Endpoint("web", "Web", ("python3", "{socket}")),),
    kernel=KernelOptions(preload=("numpy",), argv=("a", "{connection_file}")),
    hash="0123456789abcdef",
)

ODD: list[Any] = [None, True, -1, 0, 1.5, 10**18, "", "text", "\ud800", "\x1b]0;x\x07", [], [None], [[]], {}, {"a": 1}]


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [before]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(item, (*before, key))
    return found


def put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """The same value with something else at one place; LEFT_OUT removes it."""
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and odd is LEFT_OUT:
        del copy[path[0]]
    else:
        copy[path[0]] = put(copy[path[0]], path[1:], odd)
    return copy


LEFT_OUT = object()


def read(text: str) -> None:
    """It is read, shown and written again; what cannot be is an error of the test."""
    plan = planlabel.from_label(text)
    assert planlabel.from_label(planlabel.to_label(plan)) == plan
    labels = {"jupyter-mlenv.id": "box-0123456789", "jupyter-mlenv.owner": "ann", "jupyter-mlenv.plan": text}
    info = ContainerInfo("0" * 64, "mlenv-box-0123456789", "running", labels, applied=Resources())
    shown = json.dumps(from_container.environment(info).to_json("/"), allow_nan=False)
    shown.encode()
    assert isinstance(plan.container.stop_timeout, int)
    for mount in plan.container.mounts:
        assert mount.source
        assert mount.target
    for part in (plan.container.command, plan.container.publish, plan.kernel.preload, plan.kernel.argv):
        assert isinstance(part, tuple)


def test_a_plan_survives_anything_in_any_place_of_its_label() -> None:
    whole = json.loads(planlabel.to_label(PLAN))
    assert planlabel.from_label(json.dumps(whole)) == PLAN
    for path in paths(whole):
        for odd in (*ODD, LEFT_OUT):
            if path or odd is not LEFT_OUT:
                read(json.dumps(put(whole, path, odd)))


def test_a_plan_survives_several_oddities_at_once() -> None:
    whole = json.loads(planlabel.to_label(PLAN))
    chance, places = random.Random(7), paths(whole)
    for _ in range(700):
        value = whole
        for path in chance.sample(places, 4):
            try:
                value = put(value, path, chance.choice(ODD))
            except (KeyError, IndexError, TypeError, ValueError):
                continue  # it is gone already
        read(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "1", '"x"', "[" * 200_000, '{"id":' * 90_000, "\0", " " * (2 << 20)),
        '{"container":{"publish":[1e999,NaN]}}',
        '{"container": {"stop_timeout": ' + "9" * 100_000 + "}}",
        '{"a":"' + "x" * (2 << 20) + '"}',
    ],
    ids=range(13),
)
def test_a_label_that_is_no_plan_is_shown_as_failed_and_says_what_to_do(text: str) -> None:
    read(text)
    labels = {"jupyter-mlenv.id": "box-0123456789", "jupyter-mlenv.plan": text}
    environment = from_container.environment(ContainerInfo("0" * 64, "x", "running", labels))
    assert (environment.state, environment.run_dir) == (State.FAILED, "") or text.startswith('{"container"')
    assert not environment.warnings or "Remove it" in environment.warnings[0]


@pytest.mark.parametrize("id", ["", "../..", "a/b", "x\n", "-x", "é", "x" * 200])
def test_an_id_that_can_be_no_address_is_left_out(id: str) -> None:
    info = ContainerInfo("0" * 64, "x", "running", {"jupyter-mlenv.id": id})
    assert not from_container.named(info)
    assert from_container.named(replace(info, labels={"jupyter-mlenv.id": "box-0123456789"}))


def test_a_state_that_another_engine_knows_hides_nothing() -> None:
    labels = {"jupyter-mlenv.id": "box-0123456789", "jupyter-mlenv.plan": planlabel.to_label(PLAN)}
    info = ContainerInfo("0" * 64, "x", "stopping", labels)  # type: ignore[arg-type]
    assert from_container.environment(info).state is State.STOPPED


@pytest.mark.parametrize("label", ["[" * 200_000, "[[1]]", '{"a": 1}', "null", "[null]", "9" * 5000])
def test_groups_of_a_pulled_image_break_no_plan(label: str) -> None:
    groups = dockerfile.parse_groups(label)
    assert all(isinstance(spec, str) for group in groups for spec in group)
