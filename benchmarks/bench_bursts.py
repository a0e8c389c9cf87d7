"""Bursts of output: how much of them arrives at a client that is slower, beside a local kernel over TCP.

One cell displays 5,000 small outputs; the client is busy 0, 0.3 and 1 ms with each message. `bench_bursts.py memory`
shows what a client that never reads costs a kernel instead.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_kernels import LOCAL, OURS, Bench

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
OUTPUTS = 5000
BUSY = (0.0, 0.0003, 0.001)
SILENCE = 3.0  # seconds after which nothing more will come

BURST = f"""
from IPython.display import display
for i in range({OUTPUTS}):
    display({{"text/plain": str(i)}}, raw=True)
"""

MEMORY = """
from IPython.display import display
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) // 1024
before, data = resident(), "x" * {size}
for i in range({count}):
    display({{"text/plain": data + str(i)}}, raw=True)
import sys
sys.stdout.flush()
open({file!r}, "w").write(f"{{before}} MB before, {{resident()}} MB after")
"""


class Kernel:
    """A kernel of either side and a client that takes its time."""

    def __init__(self, name: str, folder: str) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name=name, cwd=folder)

    def burst(self, busy: float) -> tuple[int, bool]:
        """Outputs that arrived, and whether the cell's end did."""
        id = self.client.execute(BURST, store_history=False)
        arrived = 0
        with suppress(queue.Empty):
            while True:
                message = self.client.get_iopub_msg(timeout=SILENCE)
                if message["parent_header"].get("msg_id") != id:
                    continue
                arrived += message["msg_type"] == "display_data"
                if message["content"].get("execution_state") == "idle":
                    return arrived, True
                if busy:
                    time.sleep(busy)
        return arrived, False

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def rounds(folder: str) -> bool:
    """Whether as many arrived as from the local kernel, and each cell's end."""
    met = True
    print(f"{OUTPUTS} outputs of one cell, {ROUNDS} rounds: how many arrived, and in how many rounds `idle` did")
    for busy in BUSY:
        seen: dict[str, list[tuple[int, bool]]] = {LOCAL: [], OURS: []}
        kernels = {name: Kernel(name, folder) for name in seen}
        for _ in range(ROUNDS):
            for name, kernel in kernels.items():
                seen[name].append(kernel.burst(busy))
        for kernel in kernels.values():
            kernel.stop()
        for name, found in seen.items():
            arrived, ends = sorted(count for count, _ in found), sum(end for _, end in found)
            all_of_them = sum(count == OUTPUTS for count in arrived)
            print(
                f"  client busy {busy * 1000:g} ms  {name:12} all in {all_of_them} of {ROUNDS}, "
                f"least {arrived[0]}, median {arrived[len(arrived) // 2]}, idle in {ends} of {ROUNDS}"
            )
        least = {name: min(count for count, _ in found) for name, found in seen.items()}
        met &= least[OURS] >= least[LOCAL] and all(end for _, end in seen[OURS])
    print(f"  {'met' if met else 'MISSED'}")
    return met


def memory(folder: str) -> None:
    """What a kernel holds while a client is connected that never reads."""
    import zmq

    for size, count in ((1000, 200_000), (1_000_000, 2000)):
        for name in (LOCAL, OURS):
            kernel = Kernel(name, folder)
            info: dict[str, Any] = kernel.manager.get_connection_info()
            sleeper = zmq.Context.instance().socket(zmq.SUB)
            sleeper.subscribe(b"")
            between = "-" if info["transport"] == "ipc" else ":"
            sleeper.connect(f"{info['transport']}://{info['ip']}{between}{info['iopub_port']}")
            file = f"{folder}/resident"
            began = time.monotonic()
            id = kernel.client.execute(MEMORY.format(size=size, count=count, file=file), store_history=False)
            while kernel.client.get_shell_msg(timeout=600)["parent_header"].get("msg_id") != id:
                pass
            print(
                f"  {count} outputs of {size} bytes beside clients that never read: {name:12} "
                f"{Path(file).read_text()}, {time.monotonic() - began:.1f} s"
            )
            sleeper.close(linger=0)
            kernel.stop()


def main() -> None:
    """Print the table."""
    import asyncio

    from jupyter_mlenv.kernels import loop_thread

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    folder = tempfile.mkdtemp(prefix="mlenv-bench-", dir="/tmp")

    async def removed(bench: Bench) -> None:
        for environment in await bench.environments.list():
            await bench.environments.remove(environment.id)
        await bench.environments.close()

    try:
        bench = Bench(folder)
        try:
            if sys.argv[1:] == ["memory"]:
                memory(bench.workspace)
            else:
                rounds(bench.workspace)
        finally:
            loop_thread.close()
            asyncio.run(removed(bench))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
