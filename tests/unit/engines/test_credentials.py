"""Credential helpers that the docker configuration names and that are not there, or fail."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest
from docker.auth import AuthConfig, get_config_header
from docker.credentials.errors import StoreError

from jupyter_mlenv.engines.docker import credentials
from jupyter_mlenv.engines.docker.endpoint import EngineEndpoint
from jupyter_mlenv.engines.docker.errors import is_foreign, translate


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that is there, and knows nothing."""
    program = tmp_path / "docker-credential-there"
    program.write_text("#!/bin/sh\necho '{}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("helper")
@pytest.mark.parametrize(
    ("config", "gone"),
    [
        ({}, []),
        ({"credsStore": "desktop"}, ["docker-credential-desktop"]),
        ({"credsStore": "there"}, []),
        ({"credHelpers": {"a.test": "gone", "b.test": "there", "c.test": "gone"}}, ["docker-credential-gone"]),
        ({"credsStore": None, "credHelpers": ["odd"]}, []),
    ],
)
def test_those_that_are_missing_are_known_and_left_out(config: dict[str, object], gone: list[str]) -> None:
    assert credentials.missing(config) == gone
    kept = credentials.without_missing({**config, "auths": {"x": 1}})
    assert credentials.missing(kept) == []
    assert kept["auths"] == {"x": 1}
    if "b.test" in str(config):
        assert kept["credHelpers"] == {"b.test": "there"}


def test_a_client_asks_no_helper_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it would read the configuration again, since there is no login in it."""
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "desktop"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    client = docker.APIClient("unix:///nowhere", version="1.41")
    credentials.drop_missing(client)
    assert get_config_header(client, "docker.io") is None
    headers: dict[str, str] = {}
    credentials.add_logins(client, headers)
    assert credentials.missing_here() == ["docker-credential-desktop"]


def test_one_that_fails_hinders_no_build() -> None:
    class Client:
        _auth_configs = AuthConfig({})

        def _set_auth_headers(self, headers: dict[str, str]) -> None:
            raise StoreError('Credentials store docker-credential-x exited with "locked".')

    credentials.add_logins(Client(), {})


def test_one_that_fails_is_no_engine_that_does_not_answer() -> None:
    error = StoreError("the keyring is locked")
    assert is_foreign(error)
    said = translate(error, EngineEndpoint("unix:///x", "the default socket"), image="a.test/b")
    assert "the keyring is locked" in said.message
    assert "credsStore" in said.hint
