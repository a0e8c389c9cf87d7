"""The run directory: private, kept across starts, and never a way to touch other files."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import zmq

from jupyter_mlenv.environments import run_directory, trash
from jupyter_mlenv.errors import MlenvError

DEEP = 1200
"""Folders in one another: more than Python's limit of recursion, and a path longer than the kernel takes."""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


def test_it_is_private_and_holds_a_private_token(root):
    run_directory.prepare(str(root), str(root / "abc"))
    assert stat.S_IMODE((root / "abc").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "abc" / "token").stat().st_mode) == 0o600
    assert len(run_directory.token(str(root / "abc"))) >= 40


def test_a_second_start_keeps_the_token_other_processes_hold(root):
    run_directory.prepare(str(root), str(root / "abc"))
    before = run_directory.token(str(root / "abc"))
    run_directory.prepare(str(root), str(root / "abc"))
    assert run_directory.token(str(root / "abc")) == before
    assert sorted(os.listdir(root / "abc")) == ["in", "token"]


def test_nothing_of_an_earlier_life_is_linked(short):
    """Also where what was mounted then is not deleted yet."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{short}/in/k-1")
        run_directory.link_socket(short, "k-1")
    run_directory.renew(os.path.dirname(short), short)
    assert os.listdir(short) == ["token"]


@pytest.mark.parametrize("shape", ["link", "pipe", "endless", "socket", "binary"])
def test_a_token_that_is_none_is_never_read_and_made_anew(root, tmp_path, shape):
    """Versions before had the whole directory mounted, so code in an environment could put anything there."""
    run_directory.prepare(str(root), str(root / "abc"))
    token = root / "abc" / "token"
    token.unlink()
    secret = tmp_path / "secret"
    secret.write_text("of-the-host")
    if shape == "link":
        token.symlink_to(secret)
    elif shape == "pipe":
        os.mkfifo(token, 0o600)
    elif shape == "endless":
        with token.open("wb") as file:
            file.truncate(1 << 40)
    elif shape == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(token))
    else:
        token.write_bytes(b"\r\nX-Header: \xff")
    with pytest.raises(MlenvError, match="cannot be read"):
        run_directory.token(str(root / "abc"))
    run_directory.prepare(str(root), str(root / "abc"))
    assert len(run_directory.token(str(root / "abc"))) >= 40
    assert secret.read_text() == "of-the-host"


def test_nothing_but_one_directory_is_mounted_and_it_holds_no_token(root):
    run_directory.prepare(str(root), str(root / "abc"))
    assert run_directory.inside(str(root / "abc")) == str(root / "abc" / "in")
    assert stat.S_IMODE((root / "abc" / "in").stat().st_mode) == 0o700
    assert os.listdir(root / "abc" / "in") == []


@pytest.fixture
def short():
    """A run directory with a path short enough for a kernel's sockets."""
    with tempfile.TemporaryDirectory(prefix="mlenv-") as folder:
        run_directory.prepare(folder, f"{folder}/abc")
        yield f"{folder}/abc"


def test_zeromq_connects_to_a_socket_by_a_link_that_no_environment_can_change(short):
    with zmq.Context() as context, context.socket(zmq.REP) as kernel, context.socket(zmq.REQ) as client:
        for sock in (kernel, client):
            sock.linger = 0
        for _ in range(2):  # a restart binds anew; the link then is to the new one
            kernel.bind(f"ipc://{short}/in/k-1")
            path = run_directory.link_socket(short, "k-1")
            assert path == f"{short}/k-1"
            assert sorted(os.listdir(short)) == ["in", "k-1", "token"]
            client.connect(f"ipc://{path}")
            client.send(b"question")
            assert kernel.recv() == b"question"
            kernel.send(b"answer")
            assert client.recv() == b"answer"
            client.disconnect(f"ipc://{path}")
            kernel.unbind(f"ipc://{short}/in/k-1")


def test_the_same_socket_twice_is_one_link(short):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{short}/in/k-1")
        assert run_directory.link_socket(short, "k-1") == run_directory.link_socket(short, "k-1")
    assert sorted(os.listdir(short)) == ["in", "k-1", "token"]
    run_directory.drop_links(short)
    assert os.path.lexists(f"{short}/k-1")
    os.unlink(f"{short}/in/k-1")
    run_directory.drop_links(short)
    assert sorted(os.listdir(short)) == ["in", "token"]


@pytest.mark.parametrize("shape", ["link", "pipe", "file", "directory", "nothing"])
def test_only_a_socket_is_linked(short, tmp_path, shape):
    other = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(other))
        place = Path(short, "in", "k-1")
        if shape == "link":
            place.symlink_to(other)
        elif shape == "pipe":
            os.mkfifo(place)
        elif shape == "file":
            place.touch()
        elif shape == "directory":
            place.mkdir()
        with pytest.raises(OSError, match=r"."):
            run_directory.link_socket(short, "k-1")
    for name in ("../token", "/etc/passwd", ".", "..", ""):
        with pytest.raises(OSError, match=r"."):
            run_directory.link_socket(short, name)
    assert sorted(os.listdir(short)) == ["in", "token"]


def test_an_open_directory_is_closed_to_others(root):
    (root / "abc").mkdir(parents=True)
    (root / "abc").chmod(0o755)
    run_directory.prepare(str(root), str(root / "abc"))
    assert stat.S_IMODE((root / "abc").stat().st_mode) == 0o700


def test_a_link_in_its_place_is_refused(root, tmp_path):
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "abc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MlenvError, match="not a directory of yours"):
        run_directory.prepare(str(root), str(root / "abc"))


def test_somebody_elses_directory_is_refused(root, monkeypatch):
    (root / "abc").mkdir(parents=True)
    somebody_else = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody_else)
    with pytest.raises(MlenvError, match="not a directory of yours"):
        run_directory.prepare(str(root), str(root / "abc"))


def test_a_label_that_points_elsewhere_removes_nothing(root, tmp_path):
    root.mkdir()
    precious = tmp_path / "precious"
    precious.mkdir()
    for path in (precious, root, root / "..", root / "x" / ".." / ".." / "precious"):
        run_directory.remove(str(root), str(path))
    assert precious.is_dir()
    assert root.is_dir()
    with pytest.raises(MlenvError) as caught:
        run_directory.prepare(str(root), str(precious))
    assert "run_root" in caught.value.hint


def test_remove_twice_is_no_error(root):
    run_directory.prepare(str(root), str(root / "abc"))
    run_directory.remove(str(root), str(root / "abc"))
    run_directory.remove(str(root), str(root / "abc"))
    assert not (root / "abc").exists()
    trash.empty(str(root))
    assert os.listdir(root) == []


def test_what_is_removed_is_gone_at_once_whatever_it_is(root, tmp_path):
    """As code in a container can leave it: very deep, very many, closed for everybody, links out of it."""
    run_directory.prepare(str(root), str(root / "abc"))
    mounted = root / "abc" / "in"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    here = os.open(mounted, os.O_RDONLY)
    for number in range(DEEP):
        os.mkdir("deep", dir_fd=here)
        deeper = os.open("deep", os.O_RDONLY, dir_fd=here)
        if number % 200 == 0:
            os.close(os.open(f"f{number}", os.O_CREAT, dir_fd=here))
            os.chmod(deeper, 0)
        os.close(here)
        here = deeper
    os.close(here)
    for number in range(500):
        (mounted / str(number)).touch()
    (mounted / "closed").mkdir()
    (mounted / "closed" / "file").touch()
    (mounted / "closed").chmod(0)
    (mounted / "out").symlink_to(precious)
    os.mkfifo(mounted / "pipe")
    run_directory.remove(str(root), str(root / "abc"))
    assert not (root / "abc").exists()
    before, soft = resource.getrlimit(resource.RLIMIT_NOFILE), 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        trash.empty(str(root))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert os.listdir(root) == []
    assert os.listdir(precious) == ["file"]


def test_the_next_start_finds_nothing_of_the_last_one(root):
    run_directory.prepare(str(root), str(root / "abc"))
    (root / "abc" / "in" / "agent.sock").mkdir()
    (root / "abc" / "in" / "k-1").touch()
    token = run_directory.token(str(root / "abc"))
    run_directory.renew(str(root), str(root / "abc"))
    run_directory.prepare(str(root), str(root / "abc"))
    assert os.listdir(root / "abc" / "in") == []
    assert run_directory.token(str(root / "abc")) == token


def test_a_lost_token_is_told(root):
    with pytest.raises(MlenvError, match="cannot be read"):
        run_directory.token(str(root / "gone"))


def test_a_place_where_nothing_can_be_made_is_told(root):
    root.write_text("a file")
    with pytest.raises(MlenvError, match="cannot be made") as caught:
        run_directory.prepare(str(root), str(root / "abc"))
    assert "run_root" in caught.value.hint


FULL = """
import os, sys
from jupyter_mlenv.environments import run_directory
from jupyter_mlenv.errors import DiskFull
root = sys.argv[1] + "/run"
try:
    run_directory.prepare(root, root + "/abc")
except DiskFull as error:
    print(error.message, error.hint, os.listdir(root))
"""


def test_a_disk_that_is_really_full_is_told_and_nothing_is_left(tmp_path):
    """A file system with room for the directories and not for the token."""
    mount = f"mount -t tmpfs -o nr_inodes=4 none {tmp_path} && exec {sys.executable} -c '{FULL}' {tmp_path}"
    command = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), "sh", "-c", mount]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine gives nobody a mount of their own")
    assert "No space left on device" in done.stdout, done.stderr
    assert "run_root" in done.stdout
    assert done.stdout.strip().endswith("[]")


ORDINARY = """
import os, socket, stat, sys
from pathlib import Path
from jupyter_mlenv.agent_client import unix_sockets
from jupyter_mlenv.environments import run_directory, trash
root = sys.argv[1]
run_dir = root + "/abc"
run_directory.prepare(root, run_dir)
with socket.socket(socket.AF_UNIX) as sock:
    sock.bind(run_dir + "/in/k-1")
    sock.listen()
    path = run_directory.link_socket(run_dir, "k-1")
    unix_sockets.connect(path).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
closed = Path(run_dir, "in", "closed", "again")
closed.mkdir(parents=True)
(closed / "file").touch()
closed.chmod(0)
closed.parent.chmod(0)
run_directory.remove(root, run_dir)
trash.empty(root)
print(os.getuid(), os.listdir(root))
"""


def test_an_ordinary_person_links_connects_and_removes(tmp_path):
    with tempfile.TemporaryDirectory(prefix="mlenv-", dir="/tmp") as folder:
        uid = os.getuid() or 65534
        os.chown(folder, uid, -1)
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
            * (not os.getuid())
            + [shutil.which("python3", path="/usr/bin") or sys.executable, "-c", ORDINARY, folder],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    assert done.stdout.split() == [str(uid), "[]"], done.stderr
