"""From starting the agent to its first answer, beside the smallest asyncio server that would do the same.

Both are compiled anew each time, as in a container, where nothing may be written beside the agent.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jupyter_mlenv.agent  # noqa: E402 (found by the line above, also when run as a script)
from benchmarks._common import Comparison  # noqa: E402

ROUNDS = 31
TARGET_SECONDS = 0.035

ASYNCIO = """
import asyncio, sys

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

async def main():
    async with await asyncio.start_unix_server(answer, sys.argv[1]) as server:
        await server.serve_forever()

asyncio.run(main())
"""


def first_answer(command: list[str], path: Path, token: str) -> float:
    """Seconds from the start of a process to its answer on this socket."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                except OSError:
                    time.sleep(0.0005)
                    continue
                client.sendall(f"GET /v1/health HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
                return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()
        path.unlink()


def main() -> None:
    """Measure both in turn."""
    folder = Path(tempfile.mkdtemp(prefix="mlenv-bench-"))
    try:
        package = Path(jupyter_mlenv.agent.__file__).parent
        shutil.copytree(package, folder / "mlenv_agent", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(package / "start.py", folder)
        token = secrets.token_hex(8)
        (folder / "token").write_text(token)
        (folder / "peer.py").write_text(ASYNCIO)
        python = [sys.executable, "-B", "-E", "-s", "-S"]
        agent = [*python, str(folder / "start.py"), "--run-dir", str(folder), "--token", str(folder / "token")]
        peer = [*python, str(folder / "peer.py"), str(folder / "peer.sock")]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(first_answer(agent, folder / "agent.sock", token))
            theirs.append(first_answer(peer, folder / "peer.sock", token))
    finally:
        shutil.rmtree(folder)
    Comparison("start of the agent to its first answer", ours, "an asyncio server", theirs, 1.0).print()
    median = sorted(ours)[len(ours) // 2]
    print(f"  {'absolute':34} {median * 1000:6.1f} ms   target <= {TARGET_SECONDS * 1000:g} ms")


if __name__ == "__main__":
    main()
