"""A real image registry (Debian's docker-registry) on a free port of the loopback."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .waiting import free_port, wait_until

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def running_registry(owner: str) -> Iterator[str]:
    """`127.0.0.1:<port>` of a registry that is up; stopped and its data removed afterwards.

    An engine takes a registry on 127.0.0.0/8 without TLS, so a pushed `<address>/name:tag` needs no configuration.
    """
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed: `make test` installs it (Debian's package docker-registry)"
    with tempfile.TemporaryDirectory(prefix=f"mlenv-{owner}-registry-", dir="/tmp") as folder:
        port = free_port()
        config = Path(folder, "config.yml")
        config.write_text(CONFIG.format(root=Path(folder, "data"), port=port))
        log = Path(folder, "log")
        with log.open("wb") as output:
            # It must not outlive a killed test session.
            command = ["setpriv", "--pdeathsig=KILL", "--", program, "serve", str(config)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_until(lambda: process.poll() is not None or _answers(port), "the registry answers")
            assert process.poll() is None, f"docker-registry ended:\n{log.read_text()[-2000:]}"
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
        return bool(answer.status == 200)
