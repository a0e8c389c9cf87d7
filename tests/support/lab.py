"""A real Jupyter server with our extension, as a process of its own, run by an ordinary person.

Where the tests run as root (a container, a CI machine) the server is given another user id, so that a file "owned by
the right user" means something. That user may read what root may (`CAP_DAC_READ_SEARCH`), because the interpreter may
lie below root's home; it may write only what is its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .waiting import free_port, wait_until

PERSON = 12345
"""User and group id of the person, where the tests run as root."""

DOCKER_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Lab:
    """A running server. `url` ends with a slash; `uid` is who owns what it writes."""

    url: str
    base_url: str
    token: str
    root_dir: Path
    uid: int
    log: Path
    process: subprocess.Popen[bytes]

    def page(self, path: str = "lab") -> str:
        """The address of a page for a browser that has not logged in."""
        return f"{self.url}{path}?token={self.token}"


@contextmanager
def running_lab(
    owner: str, *, base_url: str = "/", options: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Iterator[Lab]:
    """Start the server on a free port of 127.0.0.1, in a root directory of its own; all of it is gone at the end."""
    uid = PERSON if os.getuid() == 0 else os.getuid()
    # Short, and below /tmp: run directories hold unix sockets, and the person must reach it from the root down.
    home = Path(tempfile.mkdtemp(prefix=f"mlenv-{owner}-", dir="/tmp"))
    try:
        for name in ("work", "run", "home"):
            (home / name).mkdir(mode=0o700)
        _settings(home / "home")
        _give(home, uid)
        port, token = free_port(), secrets.token_hex(16)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        command += [f"--ServerApp.base_url={base_url}", f"--ServerApp.root_dir={home / 'work'}"]
        command += [f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={home / 'run'}", *options]
        log = home / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_as_person(uid), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home / "work",
                env=_environment(home / "home", environment or {}),
            )
        lab = Lab(f"http://127.0.0.1:{port}{base_url}", base_url, token, home / "work", uid, log, process)
        try:
            wait_until(lambda: _answers(lab), "the Jupyter server answers", timeout=60)
            yield lab
        except BaseException:
            print(log.read_text(errors="replace")[-8000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home)


def owned_by_person(lab: Lab, path: Path) -> None:
    """Give a file or folder that a test made in the root directory to the person who runs the server."""
    _give(path, lab.uid)


def _as_person(uid: int) -> list[str]:
    if os.getuid() != 0:
        return []
    group = os.stat(DOCKER_SOCKET).st_gid
    identity = [f"--reuid={uid}", f"--regid={uid}", f"--groups={group}"]
    return ["setpriv", *identity, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"]


def _environment(home: Path, extra: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY", "XDG_", "MLENV"))}
    return {**kept, "HOME": str(home), "USER": "person", "LOGNAME": "person", **extra}


def _settings(home: Path) -> None:
    """Lab asks on its first start whether it may fetch news; a test's browser is not asked."""
    folder = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
    folder.mkdir(parents=True)
    (folder / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )


def _give(path: Path, uid: int) -> None:
    if os.getuid() == 0:
        for each in [path, *path.rglob("*")]:
            os.chown(each, uid, uid)


def _answers(lab: Lab) -> bool:
    if lab.process.poll() is not None:
        raise RuntimeError(f"the server exited: {lab.log.read_text(errors='replace')[-4000:]}")
    request = urllib.request.Request(f"{lab.url}api/status", headers={"Authorization": f"token {lab.token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return bool(answer.status == 200)
