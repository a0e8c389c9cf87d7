"""This machine's package index, as pip and uv in a container read it."""

from __future__ import annotations

import base64
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

from jupyter_mlenv.planning import package_index
from tests.unit.planning.test_plan import ANN


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
