"""Kernelspecs: what they say, and that only ours are ever written over or removed."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from jupyter_mlenv.cli.app import main
from jupyter_mlenv.container_layout import RUN_DIR
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.errors import NotFound, PresetInvalid, RequestInvalid
from jupyter_mlenv.kernels import exit_reason, kernelspec_store, launch_info, placement
from jupyter_mlenv.kernels.kernelspec import IPYKERNEL, kernel_json, launcher_argv, marker, own_argv, spec_name
from jupyter_mlenv.presets import loader
from jupyter_mlenv.presets.model import Preset

CATALOG = {preset.name: preset for preset in loader.catalog()}
FOREIGN = {"argv": ["mine"], "display_name": "Mine", "language": "python"}


def preset(name: str = "pytorch", text: str = "") -> Preset:
    if not text:
        return CATALOG[name]
    return loader.parse(f"schema = 1\n{text}", file=f"{name}.toml", directory="/")


def foreign(folder: Path, name: str) -> Path:
    path = folder / name / "kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(FOREIGN))
    return path


def wanted(*names: str) -> dict[str, tuple[dict[str, Any], str]]:
    return {spec_name(name): (kernel_json(preset(name), automatic=True), preset(name).icon) for name in names}


def test_the_menu_says_where_a_kernel_runs() -> None:
    spec = kernel_json(preset("pytorch"))
    assert spec["display_name"] == f"{CATALOG['pytorch'].title} (mlenv)"
    assert spec["language"] == "python"
    assert spec["metadata"]["debugger"] is True
    provisioner = spec["metadata"]["kernel_provisioner"]
    assert provisioner == {"provisioner_name": "mlenv-provisioner", "config": {"preset": "pytorch"}}
    own = preset("own", 'extends = "host"\n[kernel]\ndisplay_name = "Our Python"')
    assert kernel_json(own)["display_name"] == "Our Python"


def test_the_menu_knows_another_language() -> None:
    r = 'extends = "python"\n[kernel]\nargv = ["R", "{connection_file}"]\nlanguage = "R"\ninterrupt_mode = "message"'
    spec = kernel_json(preset("r", r))
    assert (spec["language"], spec["interrupt_mode"]) == ("R", "message")
    assert own_argv(spec["argv"]) is None
    assert spec["metadata"]["debugger"] is False
    with pytest.raises(PresetInvalid, match=re.escape("with {connection_file}")):
        preset("r", 'extends = "host"\n[kernel]\nargv = ["R"]')


def test_a_kernel_can_be_tied_to_one_environment() -> None:
    config = kernel_json(preset("python"), workspace="/w", name="second")["metadata"]["kernel_provisioner"]["config"]
    assert config == {"preset": "python", "workspace": "/w", "name": "second"}
    assert spec_name("python", "second") == "mlenv-python-second"


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_jupyter_finds_every_preset_with_its_logo(name: str, tmp_path: Path) -> None:
    kernelspec_store.write(str(tmp_path), spec_name(name), kernel_json(preset(name)), preset(name).icon)
    found = KernelSpecManager(kernel_dirs=[str(tmp_path)]).get_kernel_spec(f"mlenv-{name}")
    assert found.display_name.endswith("(mlenv)")
    assert found.argv == launcher_argv(name)
    logo = Path(found.resource_dir, "logo-svg.svg").read_text()
    assert logo.startswith("<svg ")
    assert stat.S_IMODE(os.stat(Path(found.resource_dir, "kernel.json")).st_mode) == 0o644


def test_logos_are_those_of_the_launcher() -> None:
    root = Path(kernelspec_store.__file__).parents[2]
    for logo in (Path(kernelspec_store.__file__).parent / "logos").iterdir():
        assert logo.read_text() == (root / "labextension" / "style" / "icons" / logo.name).read_text()
    missing = {p.icon for p in CATALOG.values()} - {
        logo.stem for logo in Path(kernelspec_store.__file__).parent.glob("logos/*")
    }
    assert missing <= {"jupyter"}, "whose logo is part of JupyterLab; ours for it is that of an environment"


def test_a_kernel_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    path = foreign(tmp_path, "mlenv-pytorch")
    with pytest.raises(RequestInvalid, match="did not make"):
        kernelspec_store.write(str(tmp_path), "mlenv-pytorch", kernel_json(preset()))
    with pytest.raises(NotFound):
        kernelspec_store.remove(str(tmp_path), "mlenv-pytorch")
    assert kernelspec_store.sync(str(tmp_path), wanted("pytorch")) == ([], [])
    assert kernelspec_store.sync(str(tmp_path), {}) == ([], [])
    assert json.loads(path.read_text()) == FOREIGN
    assert list(path.parent.iterdir()) == [path]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = kernelspec_store.write(
        str(tmp_path / "elsewhere"), "mlenv-python", kernel_json(preset("python"), automatic=True)
    )
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "mlenv-python").symlink_to(target)
    assert kernelspec_store.sync(str(tmp_path / "kernels"), {}) == ([], [])
    assert target.is_dir()


def test_automatic_kernels_come_and_go(tmp_path: Path) -> None:
    folder = str(tmp_path / "kernels")
    assert kernelspec_store.sync(folder, wanted("python", "pytorch")) == (["mlenv-python", "mlenv-pytorch"], [])
    assert kernelspec_store.sync(folder, wanted("python", "pytorch")) == ([], [])
    assert kernelspec_store.sync(folder, wanted("python")) == ([], ["mlenv-pytorch"])
    assert [one.name for one in kernelspec_store.installed(folder)] == ["mlenv-python"]


def test_a_kernel_that_a_person_added_stays_as_it_is(tmp_path: Path) -> None:
    mine = kernel_json(preset("python"), display_name="Mine")
    kernelspec_store.write(str(tmp_path), "mlenv-python", mine)
    assert kernelspec_store.sync(str(tmp_path), wanted("python")) == ([], [])
    assert kernelspec_store.sync(str(tmp_path), {}) == ([], [])
    assert kernelspec_store.installed(str(tmp_path))[0].spec["display_name"] == "Mine"


def test_a_stale_or_damaged_kernel_is_repaired(tmp_path: Path) -> None:
    kernelspec_store.sync(str(tmp_path), wanted("python", "pytorch", "host"))
    old = json.loads((tmp_path / "mlenv-python" / "kernel.json").read_text())
    old["argv"] = ["/gone/python"]
    (tmp_path / "mlenv-python" / "kernel.json").write_text(json.dumps(old))
    (tmp_path / "mlenv-pytorch" / "kernel.json").write_text("{")
    (tmp_path / "mlenv-host" / "kernel.json").unlink()
    written, removed = kernelspec_store.sync(str(tmp_path), wanted("python", "pytorch"))
    assert written == ["mlenv-python", "mlenv-pytorch"]
    assert removed == ["mlenv-host"]
    assert [one.broken for one in kernelspec_store.installed(str(tmp_path))] == [False, False]


def test_what_is_marked_is_ours() -> None:
    assert marker(kernel_json(preset())) is not None
    assert marker(FOREIGN) is None
    assert marker({"metadata": None}) is None
    assert marker({"metadata": {"jupyter-mlenv": "yes"}}) is None


def test_another_language_brings_its_own_command() -> None:
    assert own_argv(launcher_argv("python", "/w", "second")) is None
    assert own_argv(["{kernelspec}", "ir", "{connection_file}"]) is None
    assert own_argv(IPYKERNEL) is None
    assert own_argv([*IPYKERNEL, "--matplotlib=inline"]) is None
    bash = ["python3", "-m", "bash_kernel", "-f", "{connection_file}"]
    assert own_argv(bash) == bash


def test_only_what_was_asked_for_enters_the_environment() -> None:
    ours = {"PATH": "/host/bin", "SECRET": "token", "LANG": "C"}
    given = ours | {"JPY_SESSION_NAME": "a.ipynb", "LANG": "de_DE", "JPY_PARENT_PID": "1", "PATH": "/more:/host/bin"}
    assert launch_info.environment_variables(given, ours) == {"JPY_SESSION_NAME": "a.ipynb", "LANG": "de_DE"}


def test_a_kernels_sockets_keep_their_names_and_fit() -> None:
    from jupyter_mlenv import host_defaults

    prefix = launch_info.socket_prefix("k" * 200)
    assert prefix == launch_info.socket_prefix("k" * 200) != launch_info.socket_prefix("other")
    assert len(f"/0123456789/{prefix}-5") <= len(host_defaults.LONGEST_SOCKET)
    info = {"transport": "ipc", "ip": f"/host/run/0123456789/{prefix}", "key": b"secret", "shell_port": 1}
    inner = launch_info.inner_connection(info, "mlenv-host")
    assert inner["ip"] == f"{RUN_DIR}/{prefix}"
    assert json.loads(json.dumps(inner))["key"] == "secret"


def test_a_folder_is_looked_for_in_the_mounts() -> None:
    mounts = [Mount("/w", "/w"), Mount("/data", "/inputs"), Mount("/data/deep", "/deep")]
    assert placement.mapped("/w", mounts) == "/w"
    assert placement.mapped("/w/a b", mounts) == "/w/a b"
    assert placement.mapped("/data/x", mounts) == "/inputs/x"
    assert placement.mapped("/data/deep/x", mounts) == "/deep/x"
    assert placement.mapped("/wrong", mounts) == ""


def test_the_menu_tells_a_preset_from_its_gpu_twin() -> None:
    names = {name: kernel_json(preset)["display_name"] for name, preset in CATALOG.items()}
    assert (names["pytorch"], names["pytorch-cuda"]) == ("PyTorch (mlenv)", "PyTorch · GPU (mlenv)")
    assert len(set(names.values())) == len(names)


def test_an_end_says_why() -> None:
    event = {"event": "kernel_exited", "exit_code": -9, "oom": True, "memory_limit": 600 << 20}
    assert (
        "ran out of memory in the environment host-1, which may use 600 MiB" in exit_reason.told(event, "host-1").reason
    )
    assert "SIGSEGV" in exit_reason.told({"exit_code": -11, "oom": False}, "host-1").reason
    assert "code 3" in exit_reason.told({"exit_code": 3}, "host-1").reason
    assert exit_reason.told({"exit_code": 0}, "host-1") == exit_reason.Exit(0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "shared" / "share" / "jupyter"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_kernels_by_hand(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "add", "host", "--json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in added] == ["mlenv-host"]
    assert Path(added[0]["path"]) == home / "JUPYTER_DATA_DIR" / "kernels" / "mlenv-host"
    assert main(["kernels", "add", "python", "--prefix", str(home / "shared")]) == 0
    assert (home / "shared" / "share" / "jupyter" / "kernels" / "mlenv-python" / "kernel.json").is_file()
    capsys.readouterr()
    assert main(["kernels", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in listed} == {"mlenv-host", "mlenv-python"}
    assert not any(one["automatic"] or one["broken"] for one in listed)
    assert main(["kernels", "remove", "host", "mlenv-python"]) == 0
    capsys.readouterr()
    assert main(["kernels", "list"]) == 0
    assert "There are no kernels" in capsys.readouterr().out


def test_before_an_uninstall_all_kernels_go(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "add", "host", "python"]) == 0
    assert main(["kernels", "add", "host", "--prefix", str(home / "shared")]) == 0
    foreign = home / "JUPYTER_DATA_DIR" / "kernels" / "mine"
    foreign.mkdir()
    (foreign / "kernel.json").write_text('{"argv": ["x"], "display_name": "x", "language": "x"}')
    capsys.readouterr()
    assert main(["kernels", "remove", "--all", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert list(home.glob("**/kernels/*")) == [foreign]
    assert main(["kernels", "remove", "--all"]) == 0


def test_kernels_wrong_usage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "add", "pytorhc"]) == 1
    assert "pytorch" in capsys.readouterr().err
    assert main(["kernels", "remove", "nothing"]) == 1
    assert "There is no kernel nothing" in capsys.readouterr().err
    for wrong in (
        ["kernels"],
        ["kernels", "add"],
        ["kernels", "list", "x"],
        ["kernels", "remove"],
        ["kernels", "remove", "--all", "x"],
        ["kernels", "add", "--all"],
        ["kernels", "add", "host", "--user", "--sys-prefix"],
    ):
        assert main(wrong) == 2


@pytest.mark.parametrize("argv", [list(IPYKERNEL), ["{kernelspec}", "ir", "{connection_file}"]])
def test_an_argv_that_ran_kernels_on_this_machine_is_renewed(argv: list[str], tmp_path: Path) -> None:
    mine = kernel_json(preset("python"), workspace="/w", name="second", display_name="Mine")
    assert not any("ipykernel" in word for word in mine["argv"])
    kernelspec_store.write(str(tmp_path), "mlenv-mine", mine | {"argv": argv})
    own = kernel_json(preset("python")) | {"argv": ["mine", "{connection_file}"]}
    kernelspec_store.write(str(tmp_path), "mlenv-own", own)
    foreign(tmp_path, "foreign")
    assert kernelspec_store.sync(str(tmp_path), {}) == (["mlenv-mine"], [])
    read = {name: json.loads((tmp_path / name / "kernel.json").read_text()) for name in os.listdir(tmp_path)}
    assert read == {"mlenv-mine": mine, "mlenv-own": own, "foreign": FOREIGN}
    assert kernelspec_store.sync(str(tmp_path), {}) == ([], [])
