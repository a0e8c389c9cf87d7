"""Which engine is meant: the docker command line's own rules."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_mlenv.engines.docker.endpoint import EngineEndpoint, find_endpoint
from jupyter_mlenv.engines.docker.session import shares_filesystem
from jupyter_mlenv.errors import EngineUnavailable


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A docker configuration folder with two contexts, of which `far` is the current one."""
    for name, endpoint in (
        ("far", {"Host": "tcp://far.example:2376", "SkipTLSVerify": True}),
        ("near", {"Host": "unix:///run/near.sock"}),
    ):
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    tls = tmp_path / "contexts" / "tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    tls.mkdir(parents=True)
    (tls / "ca.pem").write_text("x")
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    return tmp_path


def test_the_order_of_precedence(config: Path) -> None:
    environ = {"DOCKER_CONFIG": str(config), "DOCKER_HOST": "tcp://host:1", "DOCKER_CONTEXT": "near"}
    assert find_endpoint("unix:///mine", environ) == EngineEndpoint("unix:///mine", "the configured engine URL")
    assert find_endpoint(None, environ) == EngineEndpoint("tcp://host:1", "DOCKER_HOST")
    del environ["DOCKER_HOST"]
    assert find_endpoint(None, environ).url == "unix:///run/near.sock"
    del environ["DOCKER_CONTEXT"]
    far = find_endpoint(None, environ)
    assert (far.url, far.tls, far.verify) == ("tcp://far.example:2376", True, False)
    assert far.ca.endswith("/docker/ca.pem")
    assert (far.cert, far.key) == ("", "")
    assert "'far'" in far.origin


def test_the_default_context_is_the_default_socket(config: Path) -> None:
    environ = {"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "default"}
    assert find_endpoint(None, environ).url == "unix:///var/run/docker.sock"


def test_the_configuration_is_looked_for_in_the_home_directory(config: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".docker").symlink_to(config)
    assert find_endpoint(None, {"HOME": str(home)}).url == "tcp://far.example:2376"


def test_the_rootless_socket_is_used_if_only_that_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rootless, default = tmp_path / "docker.sock", tmp_path / "default.sock"
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find_endpoint(None, environ, str(default)).url == f"unix://{default}"
    rootless.touch()
    assert find_endpoint(None, environ, str(default)).url == f"unix://{rootless}"
    default.touch()
    assert find_endpoint(None, environ, str(default)).url == f"unix://{default}"
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(default))  # root may use every file
    assert find_endpoint(None, environ, str(default)).url == f"unix://{rootless}"


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        (".docker/desktop/docker.sock", "the socket of Docker Desktop"),
        (".colima/default/docker.sock", "the socket of colima"),
        (".orbstack/run/docker.sock", "the socket of OrbStack"),
        (".rd/docker.sock", "the socket of Rancher Desktop"),
    ],
)
def test_a_persons_own_engine_is_found_where_there_is_no_other(tmp_path: Path, place: str, origin: str) -> None:
    default, own = tmp_path / "default.sock", tmp_path / place
    own.parent.mkdir(parents=True)
    own.touch()
    found = find_endpoint(None, {"HOME": str(tmp_path)}, str(default))
    assert (found.url, found.origin) == (f"unix://{own}", origin)
    default.touch()
    assert find_endpoint(None, {"HOME": str(tmp_path)}, str(default)).url == f"unix://{default}"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("unix:///run/docker.sock", "127.0.0.1"),
        ("tcp://10.1.2.3:2376", "10.1.2.3"),
        ("tcp://[fd00::7]:2376", "fd00::7"),
        ("tcp://localhost:2375", "127.0.0.1"),
    ],
)
def test_where_an_engines_ports_are_reached(url: str, host: str) -> None:
    assert EngineEndpoint(url, "").host() == host


def test_tls_of_docker_host(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_CERT_PATH": str(tmp_path)}
    assert not find_endpoint(None, environ).tls
    found = find_endpoint(None, {**environ, "DOCKER_TLS_VERIFY": "1"})
    assert (found.tls, found.verify, found.key) == (True, True, str(tmp_path / "key.pem"))
    assert not find_endpoint(None, {**environ, "DOCKER_TLS": "1"}).verify
    assert not find_endpoint(None, {"DOCKER_HOST": "unix:///s", "DOCKER_TLS_VERIFY": "1"}).tls


def test_a_context_that_does_not_exist_is_named(config: Path) -> None:
    with pytest.raises(EngineUnavailable, match="'gone'") as caught:
        find_endpoint(None, {"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "gone"})
    assert "docker context ls" in caught.value.hint


def test_a_broken_configuration_is_named(config: Path) -> None:
    (config / "config.json").write_text("{")
    with pytest.raises(EngineUnavailable, match=r"config\.json"):
        find_endpoint(None, {"DOCKER_CONFIG": str(config)})


def test_only_an_engine_on_this_machine_shares_files(tmp_path: Path) -> None:
    local = EngineEndpoint("unix:///var/run/docker.sock", "")
    info = {"DockerRootDir": str(tmp_path), "OperatingSystem": "Debian"}
    assert shares_filesystem(local, info)
    assert not shares_filesystem(EngineEndpoint("tcp://127.0.0.1:2375", ""), info)
    assert not shares_filesystem(local, {**info, "OperatingSystem": "Docker Desktop"})
    assert not shares_filesystem(local, {**info, "DockerRootDir": str(tmp_path / "not-here")})


def test_nobody_pays_for_docker_who_does_not_use_it() -> None:
    code = (
        "import sys; from jupyter_mlenv.engines.docker import DockerEngine; DockerEngine();"
        "print([m for m in sys.modules if m.split('.')[0] in ('docker', 'requests', 'urllib3')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
