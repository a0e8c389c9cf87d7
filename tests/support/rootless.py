"""A rootless Docker engine of an ordinary person, started for real with RootlessKit.

Where the tests run as root the person is the one of `lab.py`, whom this machine does not know. So the engine starts in
a mount namespace with an `/etc` of its own, which knows the person and the ids that are theirs to give to containers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from .lab import PERSON, give
from .ordinary import Ordinary
from .waiting import wait_until

SCRIPT = "dockerd-rootless.sh"

PATH = "/usr/share/docker.io/contrib:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where Debian's docker.io and Docker's own packages have the script, and what it needs."""

KNOWN = """
scratch=$1 id=$2 home=$3; shift 3
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$scratch/upper,workdir=$scratch/work" /etc
echo "person:x:$id:$id::$home:/bin/sh" >>/etc/passwd
echo "person:x:$id:" >>/etc/group
for file in subuid subgid; do echo person:231072:65536 >/etc/$file; done
# Open to everybody on most machines; slirp4netns needs it.
mknod -m 666 "$scratch/tun" c 10 200
mount --bind "$scratch/tun" /dev/net/tun
exec "$@"
"""


def person_known(scratch: Path, uid: int, home: str) -> list[str]:
    """Put before a command of root's: it sees a user `person` who may give ids to containers."""
    return ["unshare", "--mount", "sh", "-ec", KNOWN, "sh", str(scratch), str(uid), home]


@dataclass(frozen=True)
class Rootless(Ordinary):
    """The engine, and the person who has started it."""

    url: str = ""

    def load(self, image: str) -> None:
        """Bring an image here from the engine that the other tests use."""
        with closing(docker.APIClient(version="auto", timeout=300, **docker.utils.kwargs_from_env())) as other:
            saved = other.get_image(image)
            with closing(docker.APIClient(self.url, version="auto", timeout=300)) as client:
                for _ in client.load_image(saved):
                    pass

    def containers(self) -> list[str]:
        """The names of all that it has."""
        with closing(docker.APIClient(self.url, version="auto")) as client:
            return [entry["Names"][0] for entry in client.containers(all=True)]

    def answers(self, process: subprocess.Popen[bytes], log: Path) -> bool:
        if process.poll() is not None:
            pytest.fail(log.read_text(errors="replace")[-4000:])
        try:
            with closing(docker.APIClient(self.url, version="auto")) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False


@contextmanager
def rootless_engine() -> Iterator[Rootless]:
    """An engine that answers; at the end nothing of it is left."""
    needed = (SCRIPT, "rootlesskit", "slirp4netns", "newuidmap")
    if missing := [name for name in needed if not shutil.which(name, path=PATH)]:
        pytest.fail(f"These tests start a rootless engine, and there is no {missing[0]}: `make test` installs it.")
    uid = PERSON if os.getuid() == 0 else os.getuid()
    folder = Path(tempfile.mkdtemp(prefix="mlenv-r-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        home, runtime = folder / "home", folder / "run"
        for path in (home, runtime, folder / "etc"):
            path.mkdir(mode=0o700)
            give(path, uid)
        url = f"unix://{runtime}/docker.sock"
        made = Rootless(home, uid, variables={"DOCKER_HOST": url}, url=url)
        variables = ["env", "-i", f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}", f"PATH={PATH}"]
        command = [*variables, SCRIPT, "-H", made.url, f"--data-root={home}/.local/share/docker"]
        command += [f"--exec-root={runtime}/docker", f"--pidfile={runtime}/docker.pid"]
        if os.getuid() == 0:
            drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
            command = [*person_known(folder / "etc", uid, str(home)), *drop, *command]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: made.answers(process, folder / "log"), "the rootless engine answers")
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    finally:
        _remove(folder, uid)


def _remove(folder: Path, uid: int) -> None:
    """Files of containers belong to ids that only root, or the person in the same user namespace, may remove."""
    if os.getuid() != 0:
        subprocess.run(["rootlesskit", "rm", "-rf", str(folder / "home")], check=True)
    shutil.rmtree(folder)
