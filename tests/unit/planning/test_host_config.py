"""What the preset `host` keeps to itself: configuration below the prefixes that it mounts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jupyter_mlenv.planning import host_config


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    for name in ("bin", "etc/jupyter/jupyter_server_config.d", "share/jupyter/lab/settings", "lib", ".conda"):
        (folder / name).mkdir(parents=True)
    for name in ("pyvenv.cfg", "pip.conf", ".condarc", ".env", "LICENSE", ".lock"):
        (folder / name).touch()
    return folder


def test_configuration_is_hidden_and_nothing_that_runs(prefix: Path) -> None:
    folders, files = host_config.hidden([str(prefix)])
    assert set(folders) == {str(prefix / name) for name in ("etc", "share/jupyter/lab/settings", ".conda")}
    assert set(files) == {str(prefix / name) for name in ("pip.conf", ".condarc", ".env")}


def test_links_are_hidden_where_they_lead(prefix: Path, tmp_path: Path) -> None:
    """In the container a prefix is a folder by the name that the interpreter knows; a link in it is followed there."""
    link = tmp_path / "link"
    link.symlink_to(prefix)
    (prefix / "pip.conf").unlink()
    (prefix / "pip.conf").symlink_to("share/my.conf")
    (prefix / "share/my.conf").touch()
    (prefix / ".condarc").unlink()
    (prefix / ".condarc").symlink_to("/proc/version")  # is not in the container
    folders, files = host_config.hidden([str(link)])
    assert f"{link}/etc" in folders
    assert set(files) == {f"{link}/share/my.conf", f"{link}/.env"}


def test_a_prefix_inside_a_hidden_folder_of_another_stays(prefix: Path) -> None:
    inner = prefix / ".conda/envs/one"
    (inner / "etc").mkdir(parents=True)
    folders, _ = host_config.hidden([str(prefix), str(inner)])
    assert str(prefix / ".conda") not in folders
    assert str(inner / "etc") in folders


def test_only_yes_or_no_of_extensions_gets_in(prefix: Path) -> None:
    parts = prefix / "etc/jupyter/jupyter_server_config.d"
    on = {"jupyter_lsp": True, "jupyter_mlenv": True, "off": False, "odd": "canary", "a; canary": True}
    secret = {"IdentityProvider": {"token": "canary"}, "ServerApp": {"jpserver_extensions": on, "password": "canary"}}
    (parts / "a.json").write_text(json.dumps(secret))
    (parts / "b.json").write_text("[" * 100_000)
    (parts / "c.json").write_text('{"ServerApp": []}')
    os.mkfifo(parts / "d.json")
    *folders, file = host_config.files([str(prefix)])
    assert [(f.path, f.mode) for f in folders] == [  # an ordinary person has to get through
        ("/etc/jupyter", 0o755),
        ("/etc/jupyter/jupyter_server_config.d", 0o755),
    ]
    assert (file.path, file.mode) == ("/etc/jupyter/jupyter_server_config.d/mlenv-host.json", 0o644)
    assert file.data is not None
    assert b"canary" not in file.data
    said = json.loads(file.data)["ServerApp"]["jpserver_extensions"]
    assert (said["jupyter_lsp"], said["off"]) == (True, False)
    assert not {"jupyter_mlenv", "odd", "a; canary"} & set(said)
