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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .docker import DOCKER_SOCKET
from .waiting import free_port, wait_until

PERSON = 12345
"""User and group id of the person, where the tests run as root."""


@dataclass(frozen=True)
class Lab:
    """A running server. `url` ends with a slash; `uid` is who owns what it writes.

    `root_dir` is the person's home directory, as on many machines: projects are folders in it, and it is none itself.
    """

    url: str
    base_url: str
    token: str
    root_dir: Path
    uid: int
    log: Path
    settings: tuple[str, ...]
    environment: dict[str, str]
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._processes[-1]

    def begin(self) -> None:
        """Start the server's process, once more after `end`; it answers then."""
        where = urlsplit(self.url)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={where.port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.base_url={self.base_url}"]
        # Looking for language servers runs npm and yarn, a second of a processor for every server.
        command += ["--LanguageServerManager.autodetect=False"]
        command += [f"--ServerApp.root_dir={self.root_dir}", *self.settings]
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [*as_person(self.uid), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.root_dir,
                env=self.environment,
            )
        self._processes.append(process)
        wait_until(lambda: _answers(self), "the Jupyter server answers", timeout=60)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal, and wait until it has ended."""
        if not self._processes:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def page(self, path: str = "lab") -> str:
        """The address of a page for a browser that has not logged in."""
        return f"{self.url}{path}?token={self.token}"

    def request(self, method: str, path: str, body: object = None) -> Any:
        """The parsed answer of a REST call below the base URL; None where it has no body."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def environments(self) -> list[dict[str, Any]]:
        """The environments of this server's owner."""
        found: list[dict[str, Any]] = self.request("GET", "mlenv/api/environments")["environments"]
        return found

    def mlenv(self, *words: str) -> str:
        """What `jupyter mlenv …` prints, run by the same person with the same settings."""
        done = subprocess.run(
            [*as_person(self.uid), sys.executable, "-m", "jupyter_mlenv.cli", *words, *self.settings],
            cwd=self.root_dir,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def tidy(self) -> None:
        """Cancel what is under way, remove every environment, and forget which tabs were open."""
        for job in self.request("GET", "mlenv/api/jobs")["jobs"]:
            if job["state"] == "running":
                self.request("DELETE", f"mlenv/api/jobs/{job['id']}")
        wait_until(
            lambda: all(job["state"] != "running" for job in self.request("GET", "mlenv/api/jobs")["jobs"]),
            "what was under way has ended",
        )
        for environment in self.environments():
            self.request("DELETE", f"mlenv/api/environments/{environment['id']}")
        shutil.rmtree(self.root_dir / ".jupyter/lab/workspaces", ignore_errors=True)


@contextmanager
def running_lab(
    owner: str, *, base_url: str = "/", options: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Iterator[Lab]:
    """Start the server on a free port of 127.0.0.1, in a home directory of its own; all of it is gone at the end."""
    uid = PERSON if os.getuid() == 0 else os.getuid()
    # Short, and below /tmp: run directories hold unix sockets, and the person must reach it from the root down.
    folder = Path(tempfile.mkdtemp(prefix=f"mlenv-{owner}-", dir="/tmp"))
    home = folder / "home"
    try:
        for path in (folder / "run", home):
            path.mkdir(mode=0o700)
        _settings(home)
        give(folder, uid)
        port, token = free_port(), secrets.token_hex(16)
        settings = (f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={folder / 'run'}", *options)
        url, variables = f"http://127.0.0.1:{port}{base_url}", variables_of(home, environment or {})
        lab = Lab(url, base_url, token, home, uid, folder / "server.log", settings, variables)
        try:
            lab.begin()
            yield lab
        except BaseException:
            print(lab.log.read_text(errors="replace")[-8000:])
            raise
        finally:
            lab.end()
    finally:
        shutil.rmtree(folder)


def owned_by_person(lab: Lab, path: Path) -> None:
    """Give a file or folder that a test made in the root directory to the person who runs the server."""
    give(path, lab.uid)


def as_person(uid: int, *groups: int) -> list[str]:
    if os.getuid() != 0:
        return []
    numbers = ",".join(map(str, (os.stat(DOCKER_SOCKET).st_gid, *groups)))
    identity = [f"--reuid={uid}", f"--regid={uid}", f"--groups={numbers}"]
    return ["setpriv", *identity, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"]


def variables_of(home: Path, extra: dict[str, str]) -> dict[str, str]:
    """The environment variables of the person with this home directory: nothing of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY", "XDG_", "MLENV"))}
    return {**kept, "HOME": str(home), "USER": "person", "LOGNAME": "person", **extra}


def _settings(home: Path) -> None:
    """Lab asks on its first start whether it may fetch news; a test's browser is not asked."""
    folder = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
    folder.mkdir(parents=True)
    (folder / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )


def give(path: Path, uid: int) -> None:
    """Make a file or folder, with all that is below it, that user's; only root can."""
    if os.getuid() == 0:
        for each in [path, *path.rglob("*")]:
            os.chown(each, uid, uid)


def _answers(lab: Lab) -> bool:
    if lab.process.poll() is not None:
        raise RuntimeError(f"the server exited: {lab.log.read_text(errors='replace')[-4000:]}")
    return bool(lab.request("GET", "api/status"))
