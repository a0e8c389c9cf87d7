"""Kernels of an environment against the local ipykernel of the same Python, both driven by jupyter_client, in turn.

Uses the `host` preset, so both sides import the very same files. Every figure is taken for both sides in each round.
`bench_kernels.py start restart` takes only some of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Comparison, new_owner

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
MANY = 30
EXECUTIONS = 200
TIMEOUT_SECONDS = 30.0  # seconds after which one of many kernels counts as failed
LOCAL, OURS = "python3", "mlenv-host"
now = time.perf_counter


class Kernel:
    """A kernel of either side and a client of it."""

    def __init__(self, name: str, workspace: str) -> None:
        from jupyter_client.manager import AsyncKernelManager

        self.manager = AsyncKernelManager(kernel_name=name)
        self.workspace = workspace
        self.client: Any = None

    async def start(self) -> float:
        """Seconds from the call to the reply to kernel_info_request."""
        began = now()
        quiet = {} if self.manager.kernel_name == OURS else {"stderr": subprocess.DEVNULL}
        await self.manager.start_kernel(cwd=self.workspace, **quiet)
        self.client = self.manager.client()
        self.client.start_channels(hb=False)
        await self.info()
        return now() - began

    async def info(self) -> None:
        id = self.client.kernel_info()
        while (await self.client.get_shell_msg(timeout=120))["parent_header"].get("msg_id") != id:
            pass

    async def restart(self) -> float:
        began = now()
        await self.manager.restart_kernel()
        await self.info()
        return now() - began

    async def execute(self, code: str) -> float:
        """Seconds from the request until reply and idle are there."""
        began = now()
        id = self.client.execute(code, store_history=False)
        while True:
            message = await self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") == id and message["content"].get("execution_state") == "idle":
                break
        while (await self.client.get_shell_msg(timeout=120))["parent_header"].get("msg_id") != id:
            pass
        return now() - began

    async def ready(self) -> None:
        """Also the subscription to its output is in place."""
        await self.client.wait_for_ready(timeout=120)

    async def own_memory(self) -> float:
        """Bytes that no other process shares."""
        file = self.workspace + f"/{uuid.uuid4().hex}"
        lines = "[l for l in open('/proc/self/smaps_rollup') if l.startswith('Private')]"
        code = f"open({file!r}, 'w').write(str(sum(int(l.split()[1]) for l in {lines})))"
        await self.execute(code)
        return float(Path(file).read_text()) * 1024  # noqa: ASYNC240

    async def stop(self) -> None:
        self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)


class Bench:
    """The settings of one run, and what it prints."""

    def __init__(self, folder: str) -> None:
        from jupyter_mlenv import presets
        from jupyter_mlenv.config import MlenvConfig
        from jupyter_mlenv.environments import Environments
        from jupyter_mlenv.environments.jobs import Jobs
        from jupyter_mlenv.kernels import kernelspec, kernelspec_store

        self.workspace = f"{folder}/project"
        settings = {"owner": new_owner(), "run_root": f"{folder}/run"}
        for name in ("project", "config", "data", "runtime"):
            os.mkdir(f"{folder}/{name}", 0o700)
        Path(folder, "config", "jupyter_mlenv_config.json").write_text(json.dumps({"MlenvConfig": settings}))
        os.environ |= {
            "JUPYTER_CONFIG_DIR": f"{folder}/config",
            "JUPYTER_DATA_DIR": f"{folder}/data",
            "JUPYTER_RUNTIME_DIR": f"{folder}/runtime",
        }
        host = next(preset for preset in presets.catalog() if preset.name == "host")
        kernelspec_store.write(f"{folder}/data/kernels", OURS, kernelspec.kernel_json(host), "host")
        config = MlenvConfig(**settings)
        self.environments = Environments(config.engine(), config.settings(), Jobs())
        self.missed = False

    def compare(self, title: str, times: dict[str, list[float]], target: float, peer: str = "local ipykernel") -> None:
        comparison = Comparison(title, times[OURS], peer, times[LOCAL], target)
        comparison.print()
        self.missed |= not comparison.met

    @asynccontextmanager
    async def both(self) -> AsyncIterator[dict[str, Kernel]]:
        kernels = {name: Kernel(name, self.workspace) for name in (LOCAL, OURS)}
        for kernel in kernels.values():
            await kernel.start()
            await kernel.ready()
        try:
            yield kernels
        finally:
            for kernel in kernels.values():
                await kernel.stop()

    async def run(self) -> None:
        async with self.both():  # files in the page cache, and the environment is there and has its zygote
            pass
        parts = {
            "start": lambda: self.starts("kernel start to kernel_info_reply, environment running", 0.3, stopped=False),
            "stopped": lambda: self.starts("the same, environment stopped", 3.0, stopped=True),
            "execute": self.round_trips,
            "display": self.large_outputs,
            "restart": self.restarts,
            "many": self.many_at_once,
            "memory": self.memory,
            "server": self.through_the_server,
        }
        for name in sys.argv[1:] or parts:
            await parts[name]()

    async def starts(self, title: str, target: float, *, stopped: bool) -> None:
        times: dict[str, list[float]] = {LOCAL: [], OURS: []}
        for _ in range(ROUNDS):
            for name, taken in times.items():
                if stopped and name == OURS:
                    [environment] = await self.environments.list()
                    await self.environments.stop(environment.id)
                kernel = Kernel(name, self.workspace)
                taken.append(await kernel.start())
                await kernel.stop()
        self.compare(title, times, target)

    async def round_trips(self) -> None:
        medians: dict[str, list[float]] = {LOCAL: [], OURS: []}
        slowest: dict[str, list[float]] = {LOCAL: [], OURS: []}
        async with self.both() as kernels:
            for _ in range(ROUNDS):
                for name, kernel in kernels.items():
                    times = sorted([await kernel.execute("1 + 1") for _ in range(EXECUTIONS)])
                    medians[name].append(times[len(times) // 2])
                    slowest[name].append(times[len(times) * 99 // 100])
        self.compare(f"execute round trip, p50 of {EXECUTIONS}", medians, 1.05)
        self.compare(f"execute round trip, p99 of {EXECUTIONS}", slowest, 1.2)

    async def large_outputs(self) -> None:
        times: dict[str, list[float]] = {LOCAL: [], OURS: []}
        async with self.both() as kernels:
            for kernel in kernels.values():
                await kernel.execute("from IPython.display import display; data = 'x' * 50_000_000")
            for _ in range(ROUNDS):
                for name, kernel in kernels.items():
                    times[name].append(await kernel.execute("display({'text/plain': data}, raw=True)"))
        self.compare("display of 50 MB", times, 1.1)

    async def restarts(self) -> None:
        times: dict[str, list[float]] = {LOCAL: [], OURS: []}
        async with self.both() as kernels:
            for _ in range(ROUNDS):
                for name, kernel in kernels.items():
                    times[name].append(await kernel.restart())
        self.compare("restart to kernel_info_reply", times, 0.5)

    async def many_at_once(self) -> None:
        times: dict[str, list[float]] = {LOCAL: [], OURS: []}
        for _ in range(max(1, ROUNDS // 3)):
            for name, taken in times.items():
                kernels = [Kernel(name, self.workspace) for _ in range(MANY)]
                began = now()
                starts = (asyncio.wait_for(kernel.start(), TIMEOUT_SECONDS) for kernel in kernels)
                answers = await asyncio.gather(*starts, return_exceptions=True)
                failed = [answer for answer in answers if isinstance(answer, BaseException)]
                # Local kernels choose their ports and bind them later, so that two may have chosen the same one.
                # How long the others took is not known then; the round does not count for that side.
                if failed:
                    print(f"{len(failed)} of {MANY} kernels at once did not answer ({name}): {failed[0]!r}")
                    self.missed |= name == OURS
                else:
                    taken.append(now() - began)
                await asyncio.gather(*(kernel.stop() for kernel in kernels), return_exceptions=True)
        if not all(times.values()):
            return
        self.compare(f"{MANY} kernels started at once, all answering", times, 0.5)

    async def memory(self) -> None:
        sizes: dict[str, list[float]] = {LOCAL: [], OURS: []}
        for name, taken in sizes.items():
            kernels = [Kernel(name, self.workspace) for _ in range(4)]
            for kernel in kernels:
                await kernel.start()
                await kernel.ready()
                await kernel.execute("1 + 1")
            for kernel in kernels:
                taken.append(await kernel.own_memory())
            for kernel in kernels:
                await kernel.stop()
        ours, theirs = (statistics.median(sizes[name]) for name in (OURS, LOCAL))
        met = ours / theirs <= 0.6
        self.missed |= not met
        print(f"memory that an additional kernel has for itself ({len(sizes[OURS])} kernels, median)")
        print(f"  jupyter_mlenv {ours / 1e6:.1f} MB, local ipykernel {theirs / 1e6:.1f} MB")
        print(f"  {'ratio':34} {ours / theirs:8.3f}x   target <= 0.6x   {'met' if met else 'MISSED'}")

    async def through_the_server(self) -> None:
        times: dict[str, list[float]] = {LOCAL: [], OURS: []}
        async with channels(LOCAL, self.workspace) as theirs, channels(OURS, self.workspace) as ours:
            for _ in range(ROUNDS):
                for name, execute in ((LOCAL, theirs), (OURS, ours)):
                    times[name].extend([await execute() for _ in range(20)])
        title = "execute round trip through the Jupyter server's WebSocket"
        self.compare(title, times, 0.2, "local kernel, stock server")


@asynccontextmanager
async def channels(name: str, workspace: str) -> AsyncIterator[Any]:
    """A function that executes once through a Jupyter server: with our extension for our kernel, else a stock one."""
    import aiohttp

    from tests.support.outer import free_port

    port, token = free_port(), uuid.uuid4().hex
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={workspace}", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.jpserver_extensions={{'jupyter_mlenv': {name == OURS}}}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    url = f"http://127.0.0.1:{port}/api/kernels"
    try:
        # A new connection for each request: one made while the server was starting would be slow for ever.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"token {token}"}) as session:
            id = ""
            while not id:
                try:
                    async with session.post(url, json={"name": name}) as answer:
                        if answer.status != 201:
                            raise RuntimeError(f"{name}: {answer.status} {await answer.text()}")
                        id = (await answer.json())["id"]
                except aiohttp.ClientError:
                    await asyncio.sleep(0.2)
            async with session.ws_connect(f"{url}/{id}/channels?session_id={uuid.uuid4()}") as socket:

                async def execute() -> float:
                    began = now()
                    request = uuid.uuid4().hex
                    header = {"msg_id": request, "msg_type": "execute_request", "session": "b", "username": ""}
                    content = {"code": "1 + 1", "silent": False, "store_history": False, "allow_stdin": False}
                    message = {"parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
                    await socket.send_str(json.dumps({"header": {**header, "version": "5.3"}, **message}))
                    waiting = {"execute_reply", "idle"}
                    while waiting:
                        got = json.loads((await socket.receive()).data)
                        if got["parent_header"].get("msg_id") == request:
                            waiting -= {got["msg_type"], got["content"].get("execution_state", "")}
                    return now() - began

                await execute()
                yield execute
            async with session.delete(f"{url}/{id}"):
                pass
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def measure(folder: str) -> bool:
    """Whether all targets are met."""
    from jupyter_mlenv.kernels import loop_thread

    bench = Bench(folder)
    try:
        await bench.run()
    finally:
        await asyncio.to_thread(loop_thread.close)
        for environment in await bench.environments.list():
            await bench.environments.remove(environment.id)
        await bench.environments.close()
    return not bench.missed


def main() -> None:
    """Print the figures and their ratios."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    folder = tempfile.mkdtemp(prefix="mlenv-bench-", dir="/tmp")
    try:
        asyncio.run(measure(folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
