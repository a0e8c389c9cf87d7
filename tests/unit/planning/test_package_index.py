"""This machine's index and certificates as a running container has them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


@contextmanager
def index() -> Iterator[tuple[int, list[str]]]:
    """A package index without packages: its port, and what it was asked, with the login."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization', '')}")
            self.send_error(404)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_pip_and_uv_read_them(tool: str, tmp_path: Path) -> None:
    with index() as (port, asked):
        urls = {"PIP_INDEX_URL": f"http://ann:p%40ss@127.0.0.1:{port}/one/", "PIP_TRUSTED_HOST": f"127.0.0.1:{port}"}
        settings = replace(ANN, pip_env={**urls, "PIP_EXTRA_INDEX_URL": f"http://127.0.0.1:{port}/two/"})
        for entry in package_index.home_files(settings, str(tmp_path)):
            if entry.data is None:
                os.mkdir(entry.path, entry.mode)
            else:
                Path(entry.path).write_bytes(entry.data)
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(tmp_path / "none")}
        env |= {"PIP_RETRIES": "0", "PIP_CACHE_DIR": str(tmp_path / "c"), "UV_CACHE_DIR": str(tmp_path / "u")}
        install = [sys.executable, "-m", tool, *(["pip"] if tool == "uv" else []), "install", "--dry-run"]
        done = subprocess.run([*install, "no-such-package"], env=env, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        login = base64.b64encode(b"ann:p@ss").decode()
        assert f"/one/no-such-package/ Basic {login}" in asked, done.stderr
        assert any(line.startswith("/two/no-such-package/") for line in asked), done.stderr


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
