"""Preset + workspace + engine facts -> plan."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv import agent, host_defaults, presets
from jupyter_mlenv.engines.base import EngineFacts, ImageInfo
from jupyter_mlenv.engines.gpus import EVERY, NONE, GpuRequest, parse
from jupyter_mlenv.engines.model import Mount, Resources
from jupyter_mlenv.errors import LimitExceeded, PresetInvalid
from jupyter_mlenv.planning import plan as planning
from jupyter_mlenv.planning.model import Plan, StartRequest, environment_id
from jupyter_mlenv.presets.model import Preset
from jupyter_mlenv.settings import Settings
from tests.support.plans import planned

LOCAL = EngineFacts("docker", "28", "unix:///var/run/docker.sock")
REMOTE = replace(LOCAL, shares_filesystem=False, url="tcp://far.test:2376")
ANN = Settings(
    owner="ann@here",
    uid=1000,
    gid=1001,
    username="ann",
    run_root="/srv/run",
    resources=Resources(memory=8, pids=4096),
    host_python="/usr/bin/python3",
)
TEXT = """
name = "small"
gpu = {gpu}
twin = "other"
[image]
{image}
[env]
MODE = "fast"
[resources]
cpus = 2
[[mounts]]
source = "/data"
read_only = true
"""


def preset(image: str = 'reference = "python:3.12"', gpu: bool = False, directory: str = "") -> Preset:
    return presets.parse(TEXT.format(image=image, gpu=str(gpu).lower()), file="small.toml", directory=directory)


def make(preset_: Preset, settings: Settings = ANN, facts: EngineFacts = LOCAL, **request: object) -> Plan:
    asked = StartRequest(preset_.name, **{"workspace": "/home/ann/project", **request})  # type: ignore[arg-type]
    return planned(preset_, asked, facts, settings)


def inside(plan: Plan) -> dict[str, str]:
    """The variables of programs in the environment: the container's, then those that the agent reads."""
    files = [file.data or b"" for file in plan.files if file.path == "/opt/jupyter-mlenv/environ"]
    words = b"".join(files).decode().split("\0")
    return {**plan.container.env, **dict(word.split("=", 1) for word in words if word)}


def test_the_proxies_of_the_site_reach_the_environment_unless_the_preset_has_its_own() -> None:
    site = dataclasses.replace(ANN, proxies={"https_proxy": "http://proxy:3128", "no_proxy": "localhost"})
    env = make(preset(), site).container.env
    assert env["https_proxy"] == env["HTTPS_PROXY"] == "http://proxy:3128"
    assert env["no_proxy"] == env["NO_PROXY"] == "localhost"
    own = make(dataclasses.replace(preset(), env={"https_proxy": ""}), site)
    assert "https_proxy" not in own.container.env
    assert inside(own)["https_proxy"] == ""


def test_no_secret_is_among_what_the_engine_shows() -> None:
    """Neither a preset's variables nor a proxy's password; programs inside have them from a file of the person's."""
    proxy = "http://ann:canary-proxy@proxy:3128"
    site = dataclasses.replace(ANN, proxies={"https_proxy": proxy, "http_proxy": "http://plain:3128"})
    own = dataclasses.replace(
        preset(),
        env={"TOKEN": "canary-env", "PATH": "/opt/bin:/bin", "NVIDIA_VISIBLE_DEVICES": "0", "LD_LIBRARY_PATH": "/x"},
        endpoints=tuple(dataclasses.replace(e, env={"KEY": "canary-service"}) for e in preset().endpoints),
    )
    plan = make(own, site)
    said = json.dumps([dict(plan.container.env), dict(plan.container.labels)])
    assert "canary" not in said
    # What the engine or a GPU's runtime reads before anything of ours runs stays with them.
    early = {name: plan.container.env[name] for name in ("PATH", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")}
    assert early == {"PATH": "/opt/bin:/bin", "NVIDIA_VISIBLE_DEVICES": "0", "LD_LIBRARY_PATH": "/x"}
    assert plan.container.env["http_proxy"] == "http://plain:3128"
    assert (inside(plan)["TOKEN"], inside(plan)["HTTPS_PROXY"]) == ("canary-env", proxy)
    files = {file.path: file for file in plan.files if b"canary" in (file.data or b"")}
    assert {path: (file.mode, file.uid, file.gid) for path, file in files.items()} == {
        "/opt/jupyter-mlenv/environ": (0o600, 1000, 1001),
        "/opt/jupyter-mlenv/services.json": (0o600, 1000, 1001),
    }
    assert make(dataclasses.replace(own, env={"TOKEN": "other"}), site).hash != plan.hash


def test_a_container_of_a_local_engine() -> None:
    plan = make(preset())
    id = environment_id("ann@here", "/home/ann/project", "small")
    assert plan.id == id
    spec = plan.container
    agent = ("/opt/jupyter-mlenv/start.py", "--run-dir", "/run/mlenv", "--token", "/opt/jupyter-mlenv/token")
    assert spec.command == ("python3", "-E", "-s", "-S", "-u", *agent, "--umask", "022")
    assert (spec.user, spec.workdir, spec.publish) == ("1000:1001", "/home/ann/project", ())
    assert spec.mounts == (
        Mount("/home/ann/project", "/home/ann/project"),
        Mount(f"/srv/run/{id[-10:]}/in", "/run/mlenv"),
        Mount("/data", "/data", read_only=True),
    )
    assert spec.env["HOME"] == "/home/ann"
    assert inside(plan)["MODE"] == "fast"
    assert spec.env["MLENV_ID"] == id
    assert not [name for name in spec.env if name.startswith(("JUPYTER", "JPY"))]
    assert spec.labels["jupyter-mlenv.run"] == f"/srv/run/{id[-10:]}"
    assert {name.partition(".")[2] for name in spec.labels} == {
        "id", "owner", "preset", "workspace", "name", "plan", "run", "version", "recipe"
    }  # fmt: skip


def test_a_container_of_an_engine_elsewhere() -> None:
    plan = make(preset(), facts=REMOTE)
    assert plan.container.command[-2:] == ("--port", "8700")
    assert plan.container.publish == (8700,)
    assert plan.container.labels["jupyter-mlenv.run"] == ""
    assert "/run/mlenv" not in [mount.target for mount in plan.container.mounts]
    [run_dir] = [file for file in plan.files if file.path == "/run/mlenv"]
    assert (run_dir.data, run_dir.mode, run_dir.uid, run_dir.gid) == (None, 0o700, 1000, 1001)


def test_the_person_exists_in_the_container() -> None:
    files = {file.path: file for file in make(preset()).files}
    assert b"\nann:x:1000:1001:ann:/home/ann:" in (files["/etc/passwd"].data or b"")
    assert (files["/etc/passwd"].data or b"").startswith(b"root:x:0:0:")
    assert b"\nann:x:1001:\n" in (files["/etc/group"].data or b"")
    home = files["/home/ann"]
    assert (home.data, home.mode, home.uid, home.gid) == (None, 0o700, 1000, 1001)
    package = Path(agent.__file__).parent
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    assert len(modules) > 20
    for module in modules:
        assert files[f"/opt/jupyter-mlenv/mlenv_agent/{module}"].data == (package / module).read_bytes()
    assert files["/opt/jupyter-mlenv/start.py"].data == (package / "start.py").read_bytes()


def test_root_is_only_root() -> None:
    plan = make(preset(), replace(ANN, uid=0, gid=0, username="root"))
    files = {file.path: file for file in plan.files}
    assert (files["/etc/passwd"].data or b"").count(b"root:x:0:0:root:/root") == 1
    assert files["/root"].mode == 0o700
    assert plan.container.env["HOME"] == "/root"


def test_limits_request_over_preset_over_settings() -> None:
    assert make(preset()).container.resources == Resources(memory=8, cpus=2, pids=4096)
    made = make(preset(), cpus=0.5, memory=9, gpus=GpuRequest(2))
    assert made.container.resources == Resources(9, 0.5, 4096, None, GpuRequest(2))


def test_gpus() -> None:
    assert make(preset(gpu=True)).container.resources.gpus == EVERY
    assert make(preset(gpu=True), gpus=parse("device=1")).container.resources.gpus == parse("device=1")
    assert make(preset(gpu=True), gpus=NONE).container.resources.gpus == NONE
    assert make(preset()).container.resources.gpus == NONE
    assert make(preset(gpu=True)).twin == "other"


def test_no_gpu_of_somebody_elses_job() -> None:
    """A scheduler gave this Jupyter two of the machine's eight."""
    own = dataclasses.replace(ANN, own_gpus=("2", "GPU-5"))
    every = make(preset(gpu=True), own)
    assert every.container.resources.gpus == parse("device=2,GPU-5")
    assert every.notes == ("It gets the GPUs 2, GPU-5, which this Jupyter was given, and no other.",)
    assert make(preset(gpu=True), own, gpus=GpuRequest(1)).container.resources.gpus == parse("device=2")
    assert make(preset(gpu=True), dataclasses.replace(own, max_gpus=1)).container.resources.gpus == parse("device=2")
    named = make(preset(gpu=True), own, gpus=parse("device=7"))  # the person says otherwise
    assert (named.container.resources.gpus, named.notes) == (parse("device=7"), ())
    for settings, gpus in ((own, GpuRequest(3)), (dataclasses.replace(ANN, own_gpus=()), None)):
        with pytest.raises(LimitExceeded, match="this Jupyter was given"):
            make(preset(gpu=True), settings, gpus=gpus)
    assert make(preset(), dataclasses.replace(ANN, own_gpus=())).container.resources.gpus == NONE


@pytest.mark.parametrize(
    ("env", "gpus"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "2"}, ("2",)),
        ({"CUDA_VISIBLE_DEVICES": "0, GPU-a1,-1,3"}, ("0", "GPU-a1")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"SLURM_STEP_GPUS": "4,5", "SLURM_JOB_GPUS": "4,5,6"}, ("4", "5")),
        ({"SLURM_JOB_GPUS": ""}, None),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, None),
        ({"NVIDIA_VISIBLE_DEVICES": "MIG-1f2e"}, ("MIG-1f2e",)),
    ],
)
def test_what_a_scheduler_gave(env: dict[str, str], gpus: tuple[str, ...] | None) -> None:
    assert host_defaults.own_gpus(env) == gpus


def test_the_last_mount_of_a_place_wins() -> None:
    mounts = make(preset(), mounts=(Mount("/mine", "/data"),)).container.mounts
    assert [mount.source for mount in mounts if mount.target == "/data"] == ["/mine"]


@pytest.mark.parametrize(
    ("reference", "aliases", "used"),
    [
        ("docker.io/library/python:3.12", {"python:3.12": "mine:1"}, "mine:1"),
        ("python:3.12", {"docker.io/library/python:3.12": "mine:1"}, "mine:1"),
        ("python:3.12", {"python": "mirror.test/py"}, "mirror.test/py:3.12"),
        ("python:3.12", {"python": "mirror.test/py:always"}, "mirror.test/py:always"),
        ("python:3.12", {"docker.io": "mirror.test:5000/hub/"}, "mirror.test:5000/hub/library/python:3.12"),
        ("quay.io/jupyter/x:1", {"quay.io/jupyter": "m.test/j"}, "m.test/j/x:1"),
        ("quay.io/jupyterhub/x:1", {"quay.io/jupyter": "m.test/j"}, "quay.io/jupyterhub/x:1"),
        ("nvidia/cuda:1", {"docker.io": "a", "nvidia": "b", "nvidia/cuda:1": "c"}, "c"),
        ("nvidia/cuda:1", {"docker.io": "a", "docker.io/nvidia": "b"}, "b/cuda:1"),
        ("nvidia/cuda:1", {"docker.io": "a", "nvidia": "b"}, "b/cuda:1"),
        ("localhost:5000/x", {"docker.io": "a"}, "localhost:5000/x"),
        ("x@sha256:00", {"x": "m.test/x"}, "m.test/x@sha256:00"),
        ("python:3.12", {}, "python:3.12"),
    ],
)
def test_aliases(reference: str, aliases: Mapping[str, str], used: str) -> None:
    assert planning.apply_alias(reference, aliases) == used


def test_how_the_image_gets_there(tmp_path: Path) -> None:
    aliases = replace(ANN, image_aliases={"python": "mine"})
    assert (make(preset(), aliases).image.kind, make(preset(), aliases).image.reference) == ("pull", "mine:3.12")
    built = make(preset('base = "python:3.12"\npip = ["numpy"]'), aliases).image
    assert built.kind == "build"
    assert built.recipe is not None
    assert built.recipe.dockerfile.startswith("FROM mine:3.12\n")
    assert built.reference == built.recipe.tag
    assert make(preset('reference = "python:3.12"\nadd_jupyter = true')).image.kind == "build"
    assert make(preset("host = true")).image.reference.startswith("mlenv/host:")
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    own = make(preset('dockerfile = "Dockerfile"', directory=str(tmp_path))).image.recipe
    assert own is not None
    assert (own.dockerfile, own.context) == ("FROM x\n", str(tmp_path))


def test_requirements_are_packages_too(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("xarray\n")
    text = 'base = "b:1"\npip = ["numpy"]\nrequirements = "requirements.txt"'
    recipe = make(preset(text, directory=str(tmp_path))).image.recipe
    assert recipe is not None
    assert "numpy xarray" in recipe.dockerfile
    (tmp_path / "requirements.txt").unlink()
    with pytest.raises(PresetInvalid, match=r"requirements\.txt"):
        make(preset(text, directory=str(tmp_path)))


def test_an_earlier_image_is_built_upon() -> None:
    small, big = preset('base = "b:1"\npip = ["numpy"]'), preset('base = "b:1"\npip = ["pandas", "numpy"]')
    first = make(small).image.recipe
    assert first is not None
    request = StartRequest("small", "/w")
    plan = planned(big, request, LOCAL, ANN, earlier=[ImageInfo("sha256:0", labels=first.labels)])
    assert plan.image.recipe is not None
    assert plan.image.recipe.dockerfile.startswith(first.dockerfile.rstrip("\n"))


def test_the_classic_builder() -> None:
    base = preset('base = "b:1"')
    for plan in (make(base, facts=replace(LOCAL, buildkit=False)), make(base, replace(ANN, builder="classic"))):
        assert plan.image.recipe is not None
        assert "--mount" not in plan.image.recipe.dockerfile


def test_a_plan_survives_its_label() -> None:
    plan = make(preset('base = "b:1"\npip = ["numpy"]', gpu=True), name="two")
    back = planning.from_label(plan.container.labels["jupyter-mlenv.plan"])
    expected = replace(
        plan,
        files=(),
        image=replace(plan.image, recipe=None),
        container=replace(plan.container, labels={}, env={}),
        endpoints=tuple(replace(endpoint, env={}) for endpoint in plan.endpoints),
    )
    assert back == expected
    assert len(planning.to_label(plan)) < 8000


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"id": "x", "new": 1, "container": {"newer": 2}}'])
def test_labels_of_other_versions(text: str) -> None:
    plan = planning.from_label(text)
    assert plan.endpoints == ()
    assert plan.container.stop_timeout == 10


def test_an_endpoint_of_another_version() -> None:
    data = json.loads(planning.to_label(make(preset())))
    data["endpoints"] = [{"name": "x", "speed": 9, "command": ["a"]}, {"nameless": True}]
    [endpoint] = planning.from_label(json.dumps(data)).endpoints
    assert (endpoint.name, endpoint.title, endpoint.command) == ("x", "x", ("a",))


def test_the_hash_says_what_the_container_sees() -> None:
    base = make(preset())
    assert make(preset()).hash == base.hash
    assert make(replace(preset(), title="Another", description="x", icon="y")).hash == base.hash
    different = {
        base.hash,
        make(preset(), memory=1).hash,
        make(replace(preset(), env={"A": "b"})).hash,
        make(replace(preset(), endpoints=())).hash,
        make(preset('reference = "python:3.13"')).hash,
        make(preset(), mounts=(Mount("/a", "/a"),)).hash,
    }
    assert len(different) == 6


def test_pages_of_one_origin_do_not_share_a_lab_workspace() -> None:
    plan = make(preset())
    assert {e.name: e.open for e in plan.endpoints} == {"notebook": f"lab/workspaces/{plan.id}", "tensorboard": ""}
