"""What the host lends: its Python without its secrets, and helpers for builds."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.engines.model import BuildRecipe, FileEntry, Mount
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.planning import host_python
from jupyter_mlenv.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "ann"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def settings(*prefixes: str, python: str = "") -> Settings:
    return Settings("me", 1000, 1000, "ann", "/run", host_python=python, host_prefixes=prefixes)


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: entry for entry in archive}


def test_the_image_is_empty_and_always_the_same() -> None:
    assert host_python.tar() == host_python.tar()
    found = entries(host_python.tar())
    assert not [name for name, entry in found.items() if entry.isfile()]
    assert found["tmp"].mode == 0o1777
    assert found["sbin"].isdir()  # the engine mounts its init there
    assert found["bin"].issym() == os.path.islink("/bin")


def test_the_links_are_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").mkdir()  # a machine whose /lib is not merged into /usr
    found = entries(host_python.tar(str(tmp_path)))
    assert found["bin"].linkname == "usr/bin"
    assert found["lib"].isdir()
    assert "lib64" not in found


def test_only_public_files_and_all_read_only(home: Path) -> None:
    prefix = home / "venv"
    prefix.mkdir()
    (home / ".ssh").mkdir()
    mounts = host_python.mounts(settings(str(prefix), "/usr", "/usr/local"))
    sources = [mount.source for mount in mounts]
    assert sources[0] == "/usr"
    assert str(prefix) in sources
    assert all(mount.read_only and mount.source == mount.target for mount in mounts)
    assert all(os.path.exists(source) for source in sources)
    secrets = ["/etc", "/etc/shadow", "/etc/passwd", "/etc/ssl", "/etc/ssl/private", "/", "/root", "/home", "/var"]
    assert not set(sources) & {*secrets, str(home), str(home.parent), "/usr/local"}


def test_a_prefix_that_is_the_home_directory_is_refused(home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    for prefix in (str(home), str(home.parent), "/", str(link)):
        with pytest.raises(MlenvError, match="home directory") as caught:
            host_python.mounts(settings(prefix))
        assert caught.value.hint


def test_every_link_on_the_way_to_the_interpreter_is_there(home: Path) -> None:
    """uv and pyenv: venv/bin/python -> versions/3/bin/python -> builds/3.1/bin/python3."""
    for name in ("venv", "versions/3", "builds/3.1"):
        (home / name / "bin").mkdir(parents=True)
    (home / "builds/3.1/bin/python3").touch()
    (home / "versions/3/bin/python").symlink_to(home / "builds/3.1/bin/python3")
    (home / "venv/bin/python").symlink_to("../../versions/3/bin/python")
    found = host_python.prefixes(settings(str(home / "venv"), python=str(home / "venv/bin/python")))
    assert {os.path.normpath(path) for path in found} == {str(home / n) for n in ("venv", "versions/3", "builds/3.1")}


def test_prefixes_inside_one_another_are_mounted_once(home: Path) -> None:
    (home / "conda" / "envs" / "a").mkdir(parents=True)
    found = host_python.prefixes(settings(str(home / "conda" / "envs" / "a"), str(home / "conda"), "/nonexistent/x"))
    assert found == (str(home / "conda"),)


def test_what_a_build_gets(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    given = replace(settings(), ca_bundle=str(bundle), pip_env={"PIP_INDEX_URL": "https://x.test"})
    recipe = host_python.equipped(BuildRecipe("t:1", ""), given, os.uname().machine, buildkit=True)
    files = {file.path: file for file in recipe.files}
    assert recipe.args == {}
    assert files[".mlenv/ca.pem"].data == b"certificates"
    assert b"https://x.test" in (files[".mlenv/env.sh"].data or b"")
    assert files[".mlenv/uv"].mode == 0o755
    assert (files[".mlenv/uv"].data or b"")[:4] == b"\x7fELF"


def test_a_build_for_another_machine_gets_no_binary() -> None:
    recipe = host_python.equipped(BuildRecipe("t:1", ""), settings(), "riscv64", buildkit=True)
    assert {file.path for file in recipe.files} == {".mlenv/env.sh"}


def test_the_classic_builder_gets_no_secret_in_its_context() -> None:
    given = replace(settings(), pip_env={"PIP_INDEX_URL": "https://u:canary@x.test"})
    index = FileEntry(".mlenv-index/url", b"https://u:canary@own.test/it's")
    recipe = host_python.equipped(BuildRecipe("t:1", "", files=(index,)), given, os.uname().machine, buildkit=False)
    assert [file.path for file in recipe.files] == [".mlenv/uv"]
    # As install.sh reads it.
    script = 'eval "$(printf %s "${ftp_proxy#mlenv:}" | base64 -d)"; printf "%s %s" "$PIP_INDEX_URL" "$MLENV_INDEX"'
    done = subprocess.run(["sh", "-c", script], env=dict(recipe.args), capture_output=True, text=True, check=True)
    assert done.stdout == "https://u:canary@x.test https://u:canary@own.test/it's"


def test_a_missing_ca_bundle_is_said() -> None:
    with pytest.raises(MlenvError, match="CA bundle /nonexistent"):
        host_python.equipped(
            BuildRecipe("t:1", ""), replace(settings(), ca_bundle="/nonexistent"), "x86_64", buildkit=True
        )


def test_the_python_of_jupyter_in_a_project_is_read_only_there(tmp_path: Path) -> None:
    project, venv = tmp_path / "project", tmp_path / "project" / ".venv"
    venv.mkdir(parents=True)
    (project / "link").symlink_to(venv)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ours = replace(settings(), own_prefixes=(str(venv), str(project / "link"), str(elsewhere), str(project / "gone")))
    assert host_python.own_mounts(ours, str(project)) == (Mount(str(venv), str(venv), read_only=True),)
    assert host_python.own_mounts(ours, str(tmp_path / "proj")) == ()
