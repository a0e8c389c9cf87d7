"""Podman's ways, where they are not Docker's."""

from __future__ import annotations

import pytest

from jupyter_mlenv.engines import registry
from jupyter_mlenv.engines.base import ContainerInfo, EngineFacts
from jupyter_mlenv.engines.docker.classic import ClassicProgress
from jupyter_mlenv.engines.docker.containers import create_body
from jupyter_mlenv.engines.docker.dialect import Dialect, is_podman
from jupyter_mlenv.engines.gpus import EVERY
from jupyter_mlenv.engines.model import ContainerSpec, Mount, Resources
from jupyter_mlenv.engines.podman import find_url
from jupyter_mlenv.engines.podman.dialect import Podman
from jupyter_mlenv.errors import EngineUnsupported, GpuUnavailable
from jupyter_mlenv.planning import person
from tests.unit.planning.test_plan import ANN

VERSION = {"Version": "5.4.2", "Components": [{"Name": "Podman Engine", "Version": "5.4.2"}]}
SPEC = ContainerSpec(
    "n",
    "i",
    ("c",),
    user="1000:1000",
    groups=(4242,),
    mounts=(Mount("/p", "/p"),),
    empty_folders=("/p/etc",),
    empty_files=("/p/pip.conf",),
)


def body(spec: ContainerSpec = SPEC, *, rootless: bool = False) -> dict[str, object]:
    made = create_body(spec, publish_host="127.0.0.1", swap_accounting=True)
    host: dict[str, object] = Podman().body(made, rootless=rootless)["HostConfig"]
    return host


def test_each_adapter_knows_whose_engine_it_is() -> None:
    assert is_podman(VERSION)
    assert not is_podman({"Version": "28", "Components": [{"Name": "Engine"}]})
    Podman().check("Libpod", "5.4.2", "unix:///x")
    Dialect().check("Docker", "28.2.2", "unix:///x")
    with pytest.raises(EngineUnsupported) as caught:
        Dialect().check("Libpod", "5.4.2", "unix:///x")
    assert 'engine_kind = "podman"' in caught.value.hint
    with pytest.raises(EngineUnsupported, match="no Podman"):
        Podman().check("Docker", "28", "unix:///x")
    with pytest.raises(EngineUnsupported, match="without their names"):
        Podman().check("Libpod", "4.3.1", "unix:///x")


def test_what_is_to_look_empty_is_no_copy_of_what_it_hides() -> None:
    host = body()
    assert host["Tmpfs"] == {"/p/etc": "ro,size=4096,mode=755,notmpcopyup"}
    assert [mount["Type"] for mount in host["Mounts"]] == ["bind"]  # type: ignore[attr-defined]
    [mask] = [option for option in host["SecurityOpt"] if option.startswith("mask=")]  # type: ignore[attr-defined]
    assert mask.endswith(":/p/pip.conf")
    assert "MaskedPaths" not in host


def test_a_rootless_one_keeps_the_persons_id_and_has_no_other_groups() -> None:
    assert "UsernsMode" not in body()
    assert body()["GroupAdd"] == ["4242"]
    rootless = body(rootless=True)
    assert rootless["UsernsMode"] == "keep-id"
    assert "GroupAdd" not in rootless
    told = EngineFacts("podman", "5", "unix:///x", rootless=True)
    facts = Podman().facts(told, {"CgroupVersion": "1", "MemoryLimit": True})
    assert (facts.buildkit, facts.ignored) == (False, ("memory", "cpus", "pids"))
    assert Podman().facts(told, {"CgroupVersion": "2"}).ignored == ()
    assert (person.inside(ANN, facts).uid, person.inside(ANN, facts).groups) == (1000, ())


def test_a_gpu_is_refused_and_not_left_out() -> None:
    with pytest.raises(GpuUnavailable):
        body(ContainerSpec("n", "i", ("c",), resources=Resources(gpus=EVERY)))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("configured", "created"), ("stopped", "exited"), ("stopping", "running"), ("running", "running")],
)
def test_states_have_our_words(theirs: str, ours: str) -> None:
    assert Podman().said(ContainerInfo("1", "n", theirs, {})).status == ours


def test_a_removal_is_told_as_docker_does() -> None:
    assert Podman().event({"Action": "remove", "Type": "container"})["Action"] == "destroy"
    assert Dialect().event({"Action": "start"}) == {"Action": "start"}


def test_steps_of_its_builder_are_known() -> None:
    progress = ClassicProgress(lambda step: step)
    lines = progress.feed({"stream": "STEP 2/3: RUN make\nout\n--> 0123456789ab\nCOMMIT x\n"})
    assert lines == ["[2/3] RUN make", "out"]
    assert list(progress.tail) == ["out"]


@pytest.mark.parametrize(
    ("environ", "uid", "url"),
    [
        ({}, 0, "unix:///run/podman/podman.sock"),
        ({}, 1000, "unix:///run/user/1000/podman/podman.sock"),
        ({"XDG_RUNTIME_DIR": "/r"}, 1000, "unix:///r/podman/podman.sock"),
        ({"CONTAINER_HOST": "tcp://a:1"}, 1000, "tcp://a:1"),
    ],
)
def test_where_its_service_listens(environ: dict[str, str], uid: int, url: str) -> None:
    assert find_url(environ, uid) == url


def test_it_is_an_adapter_of_ours() -> None:
    assert "podman" in registry.kinds()
