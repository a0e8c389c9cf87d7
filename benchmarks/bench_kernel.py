"""A kernel of an inner Jupyter server, through the proxy: from execute_request to reply and idle, over its WebSocket.

Target: <= 0.2x the time that it takes through jupyter-server-proxy. Both inner servers are stock; ours listens on a
unix socket, as inside an environment, the peer's on a TCP port.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.side_by_side import OURS, PEER, STOCK, Doors, doors, now, verdict
from tests.support.outer import free_port

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
EXECUTIONS = 30


@contextmanager
def inner(setup: Doors) -> Iterator[dict[str, str]]:
    """Both inner servers; gives the path that leads to each, by door."""
    port = free_port()
    base = setup.server.path("env", "notebook")
    where = {
        OURS: [f"--ServerApp.sock={setup.server.sockets / 'env.notebook.sock'}", f"--ServerApp.base_url={base}"],
        PEER: ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"],
    }
    common = ["--no-browser", "--allow-root", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    common += ["--ServerApp.allow_remote_access=True", f"--ServerApp.root_dir={setup.server.folder}"]
    environment = os.environ | {"HOME": str(setup.server.folder), "JUPYTER_NO_CONFIG": "1"}
    processes = []
    try:
        for arguments in where.values():
            command = [
                sys.executable,
                "-m",
                "jupyter_server",
                "--ServerApp.jpserver_extensions={}",
                *common,
                *arguments,
            ]
            processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        yield {OURS: base, PEER: f"{setup.server.base_url}proxy/{port}/"}
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


class Kernel:
    """A kernel and its WebSocket, through one door."""

    def __init__(self, session: aiohttp.ClientSession, setup: Doors, path: str) -> None:
        self._session = session
        self._url = setup.server.origin + path
        self._headers = {"Cookie": setup.cookie, "Origin": setup.server.origin}
        self._id = ""

    async def start(self) -> None:
        """Waits until the inner server answers, starts a kernel and executes something once."""
        deadline = time.monotonic() + 60
        while not self._id:
            url = URL(self._url + "api/kernels", encoded=True)
            async with self._session.post(url, headers=self._headers, json={"name": "python3"}) as answer:
                if answer.status == 201:
                    self._id = (await answer.json())["id"]
                elif time.monotonic() > deadline:
                    raise RuntimeError(f"{url} answers {answer.status}")
                else:
                    await asyncio.sleep(0.2)
        await self.measure(1)

    async def measure(self, count: int) -> list[float]:
        """Seconds that each execution took, on a connection of its own."""
        url = URL(f"{self._url}api/kernels/{self._id}/channels?session_id={uuid.uuid4()}", encoded=True)
        times = []
        async with self._session.ws_connect(url, headers=self._headers) as socket:
            for _ in range(count):
                began = now()
                await self._execute(socket)
                times.append(now() - began)
        return times

    async def stop(self) -> None:
        if self._id:
            url = URL(f"{self._url}api/kernels/{self._id}", encoded=True)
            async with self._session.delete(url, headers=self._headers):
                pass

    async def _execute(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": "execute_request", "session": "bench", "username": "", "version": "5.3"}
        content = {"code": "1 + 1", "silent": False, "store_history": False, "allow_stdin": False}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await socket.send_str(json.dumps(request))
        waiting = {"execute_reply", "idle"}
        while waiting:
            message: dict[str, Any] = json.loads((await socket.receive()).data)
            if message["parent_header"].get("msg_id") != id:
                continue
            waiting.discard(message["msg_type"])
            waiting.discard(message["content"].get("execution_state", ""))


async def run() -> None:
    with doors() as setup, inner(setup) as paths:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            kernels = {door: Kernel(session, setup, path) for door, path in paths.items()}
            try:
                for kernel in kernels.values():
                    await kernel.start()
                times: dict[str, list[float]] = {OURS: [], PEER: [], STOCK: []}
                for _ in range(ROUNDS):
                    for side, of_side in times.items():
                        of_side.extend(await kernels[setup.enter(side)].measure(EXECUTIONS))
            finally:
                for kernel in kernels.values():
                    await kernel.stop()
    medians = {side: statistics.median(list_) for side, list_ in times.items()}
    print(f"kernel WebSocket of an inner Jupyter server, execute round trip, {ROUNDS} rounds of {EXECUTIONS}")
    for side, median in medians.items():
        print(f"  {side:28}{median * 1e3:7.1f} ms", end="")
        ratio = medians[OURS] / median
        print("" if side == OURS else f"   {ratio:5.2f}x  target {verdict(ratio, 0.2, at_least=False)}")


def main() -> None:
    """Print the figures and their ratios."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    asyncio.run(run())


if __name__ == "__main__":
    main()
