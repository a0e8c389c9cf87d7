"""What an environment may have at most, whoever asks, and which images it may be made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv import presets
from jupyter_mlenv.engines.base import EngineFacts
from jupyter_mlenv.engines.gpus import EVERY, NONE, GpuRequest, parse
from jupyter_mlenv.engines.model import Resources
from jupyter_mlenv.errors import LimitExceeded
from jupyter_mlenv.planning import allowed_images, limits
from jupyter_mlenv.planning import plan as planning
from jupyter_mlenv.planning.model import Plan, StartRequest
from jupyter_mlenv.presets.model import Preset
from jupyter_mlenv.settings import Settings
from tests.support.plans import planned

FACTS = EngineFacts(kind="docker", version="20.10", url="unix:///x")
G = 2**30
SITE = Settings(
    owner="ann",
    uid=1000,
    gid=1000,
    username="ann",
    run_root="/srv/run",
    max_memory=8 * G,
    max_cpus=4,
    max_pids=1000,
    max_gpus=1,
)


def small(text: str = "", **fields: object) -> Preset:
    made = presets.parse(f'[image]\nreference = "small:1"\n{text}', file="small.toml", directory="/p")
    return replace(made, **fields)  # type: ignore[arg-type]


def make(preset: Preset, settings: Settings = SITE, **wishes: object) -> Plan:
    return planned(preset, StartRequest("small", "/w", **wishes), FACTS, settings)  # type: ignore[arg-type]


def test_where_nobody_asks_the_maximum_is_the_limit() -> None:
    assert make(small()).container.resources == Resources(8 * G, 4, 1000, None)
    low = replace(SITE, resources=Resources(memory=G, pids=9))
    assert make(small(), low).container.resources == Resources(G, 4, 9, None)


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("memory", 8 * G + 1),
        ("cpus", 4.5),
        ("gpus", parse("2")),
        ("gpus", parse("all")),
        ("gpus", parse("device=0,1")),
        ("gpus", parse("device=all")),
    ],
)
def test_more_than_the_maximum_is_refused_by_name(field: str, wish: object) -> None:
    with pytest.raises(LimitExceeded, match=f"max_{field}") as caught:
        make(small(), **{field: wish})
    assert caught.value.details["setting"] == f"max_{field}"
    assert f"MlenvConfig.max_{field}" in caught.value.hint


@pytest.mark.parametrize("line", ['memory = "20g"', "cpus = 64", "pids = 60000", 'gpus = "all"'])
def test_a_preset_does_not_get_more_either(line: str) -> None:
    with pytest.raises(LimitExceeded):
        make(small(f"[resources]\n{line}"))


def test_a_gpu_preset_gets_the_maximum_and_nothing_where_that_is_none() -> None:
    assert make(small(gpu=True)).container.resources.gpus == GpuRequest(1)
    assert make(small(gpu=True), gpus=parse("device=0")).container.resources.gpus == parse("device=0")
    with pytest.raises(LimitExceeded, match="max_gpus is 0"):
        make(small(gpu=True), replace(SITE, max_gpus=0))
    assert make(small(gpu=True), replace(SITE, max_gpus=0), gpus=NONE).container.resources.gpus == NONE


def test_a_variable_is_no_way_around_the_number_of_gpus() -> None:
    made = make(small('[env]\nNVIDIA_VISIBLE_DEVICES = "all"'))
    assert made.container.env["NVIDIA_VISIBLE_DEVICES"] == "void"
    free = make(small('[env]\nNVIDIA_VISIBLE_DEVICES = "all"'), replace(SITE, max_gpus=None))
    assert free.container.env["NVIDIA_VISIBLE_DEVICES"] == "all"


@pytest.mark.parametrize(
    "has",
    [
        Resources(9 * G, 1, 1),
        Resources(None, 1, 1),
        Resources(G, 5, 1),
        Resources(G, 1, None),
        Resources(G, 1, 1, gpus=EVERY),
    ],
)
def test_what_exists_already_is_measured_too(has: Resources) -> None:
    with pytest.raises(LimitExceeded):
        limits.check(has, planning.maxima(SITE))
    limits.check(has, limits.Maxima())


@pytest.mark.parametrize(
    ("reference", "pattern", "allowed"),
    [
        ("python:3.12", "python:*", True),
        ("docker.io/library/python:3.12", "python:3.*", True),
        ("python", "python:latest", True),
        ("python:3.12", "python", True),
        ("python:3.12@sha256:00", "python:3.12*", True),
        ("quay.io/jupyter/base:1", "quay.io/jupyter/*", True),
        ("jupyter/base", "jupyter/*", True),
        ("evil.test/python:3.12", "python:*", False),
        ("evil.test/library/python:3.12", "library/*", False),
        ("pythonx:3", "python:*", False),
        ("python/python:3", "python:*", False),
        ("python@sha256:00", "python:3*", False),
        ("sha256:0123", "python*", False),
    ],
)
def test_patterns_of_images(reference: str, pattern: str, allowed: bool) -> None:
    if allowed:
        allowed_images.check([reference], [pattern], "It")
    else:
        with pytest.raises(LimitExceeded, match="allowed"):
            allowed_images.check([reference], [pattern], "It")


@pytest.mark.parametrize(
    "text",
    [
        "FROM evil:1",
        "from evil:1",
        "FROM --platform=linux/amd64 evil:1 AS x",
        "FROM \\\nevil:1",
        "FROM \\\n# a remark\n\nevil:1",
        "# escape=`\nFROM `\nevil:1",
        "FROM good:1\nFROM evil:1",
        "FROM good:1 AS evil2\nFROM evil:1",
        "FROM evil:1 AS evil:1",
        "ARG B=evil:1\nFROM $B",
        "ARG B=evil:1\nFROM ${B}\nARG B=good:1",
        "ARG B=good:1\nARG C=evil:1\nFROM $C",
        "ARG A=evil\nARG B=$A:1\nFROM $B",
        "FROM ${B:-evil:1}",
        "FROM $TARGETPLATFORM",
        'FROM "evil:1"',
        "FROM ev''il:1",
        "FROM good:1\nCOPY --from=evil:1 / /",
        "FROM good:1\nCOPY --chown=1 --from=evil:1 / /",
        "FROM good:1\nCOPY --link --from=$X / /",
        "FROM good:1\nRUN --mount=type=bind,from=evil:1,target=/x true",
        "FROM good:1\nRUN --network=none --mount=from=evil:1,type=cache,target=/x true",
        'FROM good:1\nRUN --mount=type=bind,"from=evil:1",target=/x true',
        "FROM good:1\nONBUILD COPY --from=evil:1 / /",
        "# syntax=evil:1\nFROM good:1",
        "#  Syntax = evil:1\nFROM good:1",
        "# check=skip=all\n# syntax=evil:1\nFROM good:1",
    ],
)
def test_every_image_that_a_dockerfile_uses_has_to_be_allowed(text: str) -> None:
    with pytest.raises(LimitExceeded):
        allowed_images.check(allowed_images.used(text, {}), ["good:*"], "The Dockerfile")


def test_what_a_dockerfile_may_use() -> None:
    text = (
        "# syntax=good:1\nARG V=1\nARG B=good:$V\nFROM $B AS First\nFROM scratch AS second\nFROM first\n"
        "COPY --from=FIRST /a /b\nCOPY --from=0 /a /b\nRUN --mount=type=bind,from=second,target=/x true\n"
    )
    allowed_images.check(allowed_images.used(text, {}), ["good:*"], "The Dockerfile")
    assert allowed_images.used("ARG B=good:1\nFROM $B", {"B": "evil:1"}) == ["evil:1"]
    assert allowed_images.used("FROM good:1", {"BUILDKIT_SYNTAX": "evil:1"}) == ["evil:1", "good:1"]


def test_presets_are_held_to_the_allowed_images_after_aliases(tmp_path: Path) -> None:
    site = replace(SITE, allowed_images=("mirror.test/*",), image_aliases={"docker.io": "mirror.test/hub"})
    assert make(small(), site).image.reference == "mirror.test/hub/library/small:1"
    with pytest.raises(LimitExceeded, match=r"evil\.test/x"):
        make(presets.parse('[image]\nbase = "evil.test/x"', file="a.toml", directory="/p"), site)
    (tmp_path / "Dockerfile").write_text("FROM evil.test/y")
    own = presets.parse('[image]\ndockerfile = "Dockerfile"', file="a.toml", directory=str(tmp_path))
    with pytest.raises(LimitExceeded, match=r"evil\.test/y"):
        make(own, site)
    make(presets.parse("[image]\nhost = true", file="a.toml", directory="/p"), site)
