"""This machine's index and certificates as a running container has them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.planning import package_index
from tests.unit.planning.test_plan import ANN, make, preset

URLS = {"PIP_INDEX_URL": "https://a:%25s@one.test/simple", "PIP_EXTRA_INDEX_URL": "https://two.test/s https://3.test/s"}
MORE = {"PIP_TRUSTED_HOST": "two.test 3.test:8443", "PIP_FIND_LINKS": "https://w.test/i.html"}


def test_the_files_say_what_the_variables_said() -> None:
    assert package_index.pip_conf({**URLS, **MORE}) == (
        "[global]\n"
        "index-url = https://a:%25s@one.test/simple\n"
        "extra-index-url = https://two.test/s https://3.test/s\n"
        "trusted-host = two.test 3.test:8443\n"
        "find-links = https://w.test/i.html\n"
    )
    assert package_index.uv_toml({**URLS, **MORE}) == (
        'index-url = "https://a:%25s@one.test/simple"\n'
        'extra-index-url = ["https://two.test/s", "https://3.test/s"]\n'
        'allow-insecure-host = ["two.test", "3.test:8443"]\n'
        'find-links = ["https://w.test/i.html"]\n'
    )
    assert package_index.pip_conf({}) == package_index.uv_toml({"PIP_INDEX_URL": ""}) == ""


def test_certificates_are_a_file_and_variables_that_the_preset_may_change(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"CERTIFICATE")
    site = replace(ANN, ca_bundle=str(bundle))
    plan = make(replace(preset(), env={"PIP_CERT": "/mine.pem"}), site)
    [file] = [file for file in plan.files if file.path == "/opt/jupyter-mlenv/ca.pem"]
    assert (file.data, file.mode, file.uid) == (b"CERTIFICATE", 0o644, 0)
    env = plan.container.env
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT")
    assert [env[name] for name in names] == ["/opt/jupyter-mlenv/ca.pem"] * 5
    assert b"PIP_CERT=/mine.pem\0" in [file.data for file in plan.files]  # what the agent reads wins
    bundle.write_bytes(b"ANOTHER")
    assert make(preset(), site).hash != make(preset(), ANN).hash != plan.hash
    assert b"ANOTHER" in [file.data for file in make(preset(), site).files]
    bundle.unlink()
    with pytest.raises(MlenvError, match=r"ca\.pem cannot be read") as caught:
        make(preset(), site)
    assert "ca_bundle" in caught.value.hint


def test_a_password_is_in_a_file_of_the_persons_and_nowhere_else() -> None:
    plan = make(preset(), replace(ANN, pip_env=URLS))
    [file] = [file for file in plan.files if file.path == "/home/ann/.config/pip/pip.conf"]
    assert (file.mode, file.uid, file.gid) == (0o600, 1000, 1001)
    assert b"%25s@one.test" in (file.data or b"")
    assert {entry.mode for entry in plan.files if entry.path in ("/home/ann/.config", "/home/ann/.config/uv")} == {
        0o700
    }
    assert "one.test" not in json.dumps([dict(plan.container.env), dict(plan.container.labels)])
    assert make(preset(), replace(ANN, pip_env={**URLS, "PIP_INDEX_URL": "https://b.test"})).hash != plan.hash


def test_none_of_it_where_it_is_turned_off(tmp_path: Path) -> None:
    off = replace(ANN, pip_env=URLS, ca_bundle=str(tmp_path / "not there"), pass_pip_settings=False)
    assert make(preset(), off).hash == make(preset()).hash


def test_the_machines_own_python_may_be_one_that_a_distribution_manages() -> None:
    assert make(preset("host = true")).container.env["PIP_BREAK_SYSTEM_PACKAGES"] == "1"
    assert "PIP_BREAK_SYSTEM_PACKAGES" not in make(preset()).container.env
