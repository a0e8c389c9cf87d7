"""Start of an environment, image present, to agent ready, against `docker run -d` of the same image.

Target: at most 150 ms more. Interleaved; medians of ROUNDS. Uses the `host` preset, so it runs on any Linux machine
with an engine. Each round makes and removes one container of each kind.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import uuid

ROUNDS = 11


async def _measure() -> tuple[list[float], list[float]]:
    from jupyter_mlenv.config import MlenvConfig
    from jupyter_mlenv.environments import Environments
    from jupyter_mlenv.environments.jobs import Jobs
    from jupyter_mlenv.planning.model import StartRequest

    owner = f"bench-{uuid.uuid4().hex[:8]}"
    run_root = tempfile.mkdtemp(prefix="mlenv-bench-", dir="/tmp")
    workspace = tempfile.mkdtemp(prefix="mlenv-bench-workspace-")
    config = MlenvConfig(owner=owner, run_root=run_root)
    environments = Environments(config.engine(), config.settings(), Jobs())
    ours: list[float] = []
    docker: list[float] = []
    try:
        request = StartRequest("host", workspace)
        warm = await (await environments.start(request))[1].wait()
        info = await environments.engine.inspect(f"mlenv-{warm.id}")
        await environments.remove(warm.id)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            environment = await (await environments.start(request))[1].wait()
            ours.append(time.perf_counter() - began)
            await environments.remove(environment.id)

            name = f"{owner}-{uuid.uuid4().hex[:6]}"
            command = ["docker", "run", "-d", "--init", "--name", name, "-v", "/usr:/usr:ro"]
            command += ["-v", f"{workspace}:{workspace}", "-v", f"{run_root}:/run/mlenv", info.image, "sleep", "60"]
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221 (nothing else runs)
            docker.append(time.perf_counter() - began)
            subprocess.run(["docker", "rm", "-f", name], check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221
    finally:
        for environment in await environments.list():
            await environments.remove(environment.id)
        await environments.close()
        shutil.rmtree(run_root)
        shutil.rmtree(workspace)
    return ours, docker


def main() -> None:
    """Print both medians, their difference and their ratio."""
    ours, docker = asyncio.run(_measure())
    a, b = statistics.median(ours) * 1000, statistics.median(docker) * 1000
    print(f"start to agent ready, {ROUNDS} rounds, {os.cpu_count()} cores, as {getpass.getuser()}")
    print(f"  jupyter_mlenv   {a:7.0f} ms   [{min(ours) * 1000:.0f}-{max(ours) * 1000:.0f}]")
    print(f"  docker run -d   {b:7.0f} ms   [{min(docker) * 1000:.0f}-{max(docker) * 1000:.0f}]")
    print(f"  difference      {a - b:+7.0f} ms   target <= +150 ms   {'met' if a - b <= 150 else 'MISSED'}")
    print(f"  ratio           {a / b:7.2f}")


if __name__ == "__main__":
    main()
