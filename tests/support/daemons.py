"""Docker daemons of a test's own, beside everybody's: one that is stopped and started, one that sees other files.

Nothing needs a network in them: containers of the preset `host` have no image to fetch.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import docker
import docker.errors
import pytest

from tests.support.lab import PERSON
from tests.support.rootless import person_known
from tests.support.waiting import wait_until

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
"""Only root can run a daemon."""

CONTAINERD = "/run/containerd"
"""Where a daemon finds the machine's containerd, which sees the machine's files, and would start containers in it."""

HIDDEN = """
for place in "$@"; do
  [ "$place" != -- ] || break
  shift
  mount -t tmpfs -o mode=0755 theirs "$place"
done
shift
exec "$@"
"""
"""Mounts an empty file system at each path before `--`, and becomes what is behind it."""


class Daemon:
    """A Docker daemon with all that is its own in one folder.

    Parameters
    ----------
    hidden
        Folders in whose place it sees empty ones, as one from a snap does: it has a mount namespace of its own.
    apart
        Its data lies where only it sees them, as that of one in a virtual machine does.
    bridge
        The name of a bridge that its containers join; without one they have no network but `none`.
    user_map
        Users of its containers are others on this machine (`userns-remap`).
    """

    def __init__(
        self,
        folder: Path,
        hidden: Sequence[Path] = (),
        bridge: str = "",
        *,
        apart: bool = False,
        user_map: bool = False,
    ) -> None:
        self.folder = folder
        self.user_map = user_map
        self.url = f"unix://{folder}/sock"
        self.hidden = [*hidden, folder / "data"] if apart else hidden
        self.bridge = bridge
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self.process is not None:
            return
        own = {"--data-root": "data/root", "--exec-root": "exec", "--pidfile": "pid"}
        command = ["dockerd", "-H", self.url, "--iptables=false", f"--bridge={self.bridge or 'none'}"]
        command += [word for option, name in own.items() for word in (option, str(self.folder / name))]
        if os.geteuid() != 0:
            command += ["--group", str(os.getegid())]  # of the socket
        if self.hidden:
            hidden = [*map(str, self.hidden), *([CONTAINERD] if os.path.isdir(CONTAINERD) else [])]
            command = ["unshare", "--mount", "sh", "-ec", HIDDEN, "sh", *hidden, "--", *command]
        if self.user_map:
            (self.folder / "etc").mkdir(exist_ok=True)
            self.folder.chmod(0o711)  # the root of containers is nobody here, and has to get to its files
            known = person_known(self.folder / "etc", PERSON, "/nonexistent")
            command = [*known, *command, "--userns-remap=person"]
        if not self.bridge:
            # In a network namespace of its own: with `--bridge=none` a daemon removes `docker0`, whosever it is.
            command = ["unshare", "--net", *command]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*AS_ROOT, *command], stdout=log, stderr=log)
        wait_until(self.answers, "the second daemon answers")

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail((self.folder / "log").read_text())
        try:
            with closing(docker.APIClient(base_url=self.url, version="auto")) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False

    def stop(self) -> None:
        """As its service manager does; its containers are stopped with it."""
        if self.process is not None:
            pid = self.pid
            subprocess.run([*AS_ROOT, "kill", pid], check=False)  # it may have ended
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                subprocess.run([*AS_ROOT, "kill", "-KILL", pid], check=False)
                raise
            finally:
                self.process = None

    @property
    def pid(self) -> str:
        assert self.process is not None
        return (self.folder / "pid").read_text() if (self.folder / "pid").exists() else str(self.process.pid)

    def sees(self, folder: Path) -> list[str]:
        """The names of all that lies below this path for it, in order."""
        command = ["find", f"/proc/{self.pid}/root{folder}", "-mindepth", "1", "-printf", "%P\\n"]
        found = subprocess.run([*AS_ROOT, *command], check=True, capture_output=True, text=True)
        return sorted(found.stdout.splitlines())

    def makes(self, folder: Path, uid: int = os.getuid()) -> None:
        """A folder of this user's that is there only for it."""
        place = f"/proc/{self.pid}/root{folder}"
        owner = [f"--owner={uid}", f"--group={os.getgid() if uid == os.getuid() else uid}"]
        subprocess.run([*AS_ROOT, "install", "-d", *owner, place], check=True)

    def containers(self) -> list[str]:
        """The names of all that it has."""
        with closing(docker.APIClient(base_url=self.url, version="auto")) as client:
            return [entry["Names"][0] for entry in client.containers(all=True)]


@contextmanager
def running_daemon(
    hidden: Sequence[Path] = (), *, network: bool = False, apart: bool = False, user_map: bool = False
) -> Iterator[Daemon]:
    """A daemon that answers; at the end nothing of it is left. `network`: containers can publish ports."""
    if shutil.which("dockerd") is None:
        pytest.fail("These tests start a Docker daemon of their own, and there is no dockerd: `make test` installs it.")
    bridge = f"mlenv{secrets.token_hex(4)}" if network else ""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="mlenv-d-", dir="/tmp"))
        stack.callback(subprocess.run, [*AS_ROOT, "rm", "-rf", folder], check=True)
        (folder / "data").mkdir()
        if bridge:
            _ip("link", "add", bridge, "type", "bridge")
            stack.callback(_ip, "link", "delete", bridge)
            _ip("link", "set", bridge, "up")
            _give_address(bridge)
        made = Daemon(folder, hidden, bridge, apart=apart, user_map=user_map)
        stack.callback(made.stop)
        made.start()
        yield made


def _give_address(bridge: str) -> None:
    """An address in a network that no other bridge has, such as that of another of these daemons."""
    for _ in range(100):
        address = f"10.77.{secrets.randbelow(200) + 50}.1/24"
        network = str(ipaddress.ip_interface(address).network)
        _ip("address", "add", address, "dev", bridge)
        # Looked at after it was added: two that ask first might both be told that it is free.
        if _ip("-4", "route", "show", "exact", network).count("\n") == 1:
            return
        _ip("address", "delete", address, "dev", bridge)
    pytest.fail("All networks of 10.77.50.0 to 10.77.249.0 are in use.")


def _ip(*words: str) -> str:
    return subprocess.run([*AS_ROOT, "ip", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
