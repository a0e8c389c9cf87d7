"""Code inside an environment attacks what the host reads, opens and trusts: it breaks its own environment at most."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client.routes import UnixRoute, connect
from jupyter_mlenv.environments import Environments, run_directory
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.kernels import placement
from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.support.environments import BOX, Named, inside, start
from tests.support.kernels import Home, kernel, said
from tests.support.waiting import eventually

POSE = """
import json, os, subprocess, sys
for name in ("token", "agent.sock"):
    if os.path.lexists(f"/run/mlenv/{name}"):
        os.unlink(f"/run/mlenv/{name}")
os.symlink(SECRET, "/run/mlenv/token")
code = '''
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind("/run/mlenv/agent.sock")
server.listen(64)
while True:
    client = server.accept()[0]
    with open(sys.argv[1], "ab") as file:
        file.write(client.recv(65536))
    client.close()
'''
subprocess.Popen([sys.executable, "-c", code, HEARD], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
print(json.dumps(os.listdir("/run/mlenv")))
"""
"""Takes the agent's place, lays a link to SECRET where a token once was, and writes down what the host says."""


@pytest.fixture
def box(named: Named, home: Home) -> str:
    """The kernel of a preset."""
    return home.add(named("box", BOX))


@pytest.fixture
async def other(environments: Environments, home: Home) -> AsyncIterator[Environments]:
    """The use cases of another process, which remembers nothing."""
    made = Environments(home.config.engine(), home.config.settings(), Jobs())
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that cannot start is given up soon."""
    monkeypatch.setattr(placement, "RETRY_DELAYS_SECONDS", placement.RETRY_DELAYS_SECONDS[:2])


class Precious:
    """A socket of the person's on the host, as an agent of keys has one, that nothing may connect to."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "keys.sock")
        self._sock = socket.socket(socket.AF_UNIX)
        directory = os.open(folder, os.O_PATH)
        self._sock.bind(f"/proc/self/fd/{directory}/keys.sock")
        os.close(directory)
        self._sock.listen(8)
        self._sock.setblocking(False)

    def untouched(self) -> bool:
        """Whether nobody has connected to it."""
        try:
            self._sock.accept()[0].close()
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Precious]:
    made = Precious(tmp_path)
    yield made
    made.close()


async def test_no_file_of_the_host_reaches_a_container_that_poses_as_its_agent(
    environments: Environments, other: Environments, box: str, workspace: Path, tmp_path: Path
) -> None:
    """The way by which a kernel start once sent the secret of the login cookies into the container."""
    secret, heard = tmp_path / "jupyter_cookie_secret", workspace / "heard"
    secret.write_text("the-secret-of-the-host")
    environment, _ = await start(environments, box.removeprefix("mlenv-"), workspace)
    token = run_directory.token(environment.run_dir)
    seen = await inside(environments, environment.id, f"SECRET = {str(secret)!r}\nHEARD = {str(heard)!r}\n{POSE}")
    assert "token" in seen, "a link lies there now"
    assert sorted(os.listdir(environment.run_dir)) == ["in", "token"]
    assert run_directory.token(environment.run_dir) == token

    await eventually(lambda: os.path.exists(run_directory.agent_socket(environment.run_dir)), "the impostor listens")
    with pytest.raises(KernelError):
        async with kernel(box, workspace):
            pass
    with pytest.raises(MlenvError):
        await other.service(environment.id, "echo", "/")
    assert heard.exists(), "the impostor was spoken to"
    told = heard.read_text()
    assert "the-secret" not in told
    words = {line for line in told.splitlines() if line.startswith("Authorization")}
    assert words == {f"Authorization: Bearer {token}"}, "it is told its own token and nothing else"


@pytest.mark.parametrize("shape", ["link", "pipe", "file", "folder"])
async def test_what_lies_in_the_place_of_a_socket_is_not_opened(
    environments: Environments, box: str, workspace: Path, precious: Precious, shape: str
) -> None:
    environment, _ = await start(environments, box.removeprefix("mlenv-"), workspace)
    route = await environments.service(environment.id, "echo", "/")
    assert isinstance(route, UnixRoute)
    make = {
        "link": f"os.symlink({precious.path!r}, path)",
        "pipe": "os.mkfifo(path)",
        "file": "open(path, 'w').truncate(1 << 40)",
        "folder": "os.mkdir(path)",
    }
    code = f"""
import glob, json, os
paths = glob.glob("/run/mlenv/*.sock")
for path in paths:
    os.unlink(path)
    {make[shape]}
print(json.dumps(len(paths)))
"""
    assert await inside(environments, environment.id, code) == 2
    with pytest.raises(OSError, match=r"."):
        await connect(route)
    with pytest.raises(MlenvError):
        await environments.service(environment.id, "silent", "/")
    with pytest.raises(KernelError):
        async with kernel(box, workspace):
            pass
    assert precious.untouched()

    # It has harmed itself only, and is well again after a restart.
    await (await environments.restart(environment.id))[1].wait()
    async with kernel(box, workspace) as (_, client):
        assert await said(client, "6 * 7") == "42"


async def test_the_sockets_of_a_kernel_lie_where_its_environment_cannot_change_them(
    environments: Environments, box: str, workspace: Path, precious: Precious
) -> None:
    async with kernel(box, workspace) as (manager, _):
        [environment] = await environments.list()
        prefix = manager.get_connection_info()["ip"]
        assert os.path.dirname(prefix) == environment.run_dir
        code = f"""
import glob, json, os
paths = glob.glob("/run/mlenv/k-*-ipc-*")
for path in paths:
    os.unlink(path)
    os.symlink({precious.path!r}, path)
print(json.dumps(len(paths)))
"""
        assert await inside(environments, environment.id, code) == 5
        again = manager.client()
        again.start_channels()
        try:
            await again.wait_for_ready(timeout=60)
            assert await said(again, "6 * 7") == "42"
        finally:
            again.stop_channels()
        await asyncio.sleep(0)
        assert precious.untouched()
