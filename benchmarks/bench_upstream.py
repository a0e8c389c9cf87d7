"""Our connections to services against aiohttp's client: why the proxy does not use a general one.

The same 1 KB answers over the same unix socket, in one process without any server around; no target.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from yarl import URL

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jupyter_mlenv.agent_client import routes
from jupyter_mlenv.proxy.http1 import request_head
from jupyter_mlenv.proxy.pool import Pool
from tests.support.outer import ROOT

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
REQUESTS = 2000
HEADERS = [("Host", "localhost:8888"), ("Accept", "*/*"), ("User-Agent", "Mozilla/5.0"), ("X-Forwarded-Proto", "http")]
TARGET = "/user/alice%40b/mlenv/envs/env/app/small"


async def cpu_per_request(one: Callable[[], Awaitable[bytes]]) -> float:
    """Processor time of this process, in seconds, with 8 requests at once."""

    async def some() -> None:
        for _ in range(REQUESTS // 8):
            assert len(await one()) == 1024

    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(8)))
    return (time.process_time() - began) / REQUESTS


async def measure(path: str) -> dict[str, list[float]]:
    pool = Pool(routes.connect)
    route = routes.UnixRoute(path)

    async def ours() -> bytes:
        connection = await pool.acquire(route)
        connection.begin(request_head("GET", TARGET, HEADERS), "GET", chunked=False, has_body=False)
        await connection.head()
        body = await connection.read()
        pool.release(connection)
        return body

    connector = aiohttp.UnixConnector(path)
    options = {"auto_decompress": False, "cookie_jar": aiohttp.DummyCookieJar()}
    async with aiohttp.ClientSession(connector=connector, **options) as session:

        async def theirs() -> bytes:
            url = URL(f"http://localhost{TARGET}", encoded=True)
            async with session.get(url, headers=HEADERS, allow_redirects=False) as answer:
                return await answer.read()

        times: dict[str, list[float]] = {"ours": [], "aiohttp": []}
        for _ in range(ROUNDS):
            times["ours"].append(await cpu_per_request(ours))
            times["aiohttp"].append(await cpu_per_request(theirs))
    pool.close()
    return times


def main() -> None:
    """Print both medians and their ratio."""
    folder = tempfile.mkdtemp(prefix="mlenv-bench-", dir="/tmp")
    command = [sys.executable, "-m", "benchmarks.backend", folder]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as backend:
        try:
            assert backend.stdout is not None
            backend.stdout.readline()
            times = asyncio.run(measure(f"{folder}/env.app.sock"))
        finally:
            backend.terminate()
    shutil.rmtree(folder)
    ours, theirs = (statistics.median(times[side]) * 1e6 for side in ("ours", "aiohttp"))
    print(f"1 KB request over a unix socket, processor time of the client, {ROUNDS} rounds of {REQUESTS}")
    print(f"  ours {ours:.0f} us, aiohttp {theirs:.0f} us: {theirs / ours:.1f}x less")


if __name__ == "__main__":
    main()
