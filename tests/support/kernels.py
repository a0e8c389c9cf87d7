"""What the tests of kernels share: a Jupyter home with kernelspecs and settings of the session, and kernels in it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.ioloop import AsyncIOLoopKernelManager

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.kernels import kernelspec, kernelspec_store, loop_thread
from jupyter_mlenv.presets import loader
from tests.support.repository import ROOT


class Home:
    """A Jupyter home: everything that starts a kernel with `environment` means the same environments as the tests."""

    def __init__(self, folder: Path, owner: str, run_root: str, presets: Path, **traits: Any) -> None:
        self.folder = folder
        self.traits = {"owner": owner, "run_root": run_root, "preset_paths": [str(presets)], **traits}
        self.config = MlenvConfig(**self.traits)
        self.environment: Mapping[str, str] = {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        }
        for name in ("config", "data", "runtime", "ipython"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        (folder / "config" / "jupyter_mlenv_config.json").write_text(json.dumps({"MlenvConfig": self.traits}))

    def add(self, preset: str, *, argv: list[str] | None = None, **how: Any) -> str:
        """The kernelspec of a preset; returns its name."""
        found, broken = loader.load(self.config.settings())
        chosen = loader.find(preset, found, broken)
        spec = kernelspec.kernel_json(chosen, **how)
        name = kernelspec.spec_name(preset, how.get("name", ""))
        kernelspec_store.write(
            str(self.folder / "data" / "kernels"), name, spec | ({"argv": argv} if argv else {}), chosen.icon
        )
        return name


@asynccontextmanager
async def kernel(name: str, cwd: Path | str) -> AsyncIterator[tuple[AsyncIOLoopKernelManager, AsyncKernelClient]]:
    """A running kernel and its client, as a Jupyter server has them."""
    manager = AsyncIOLoopKernelManager(kernel_name=name)
    await manager.start_kernel(cwd=str(cwd))
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=180)
        yield manager, client
    finally:
        client.stop_channels()
        if manager.has_kernel or await manager.is_alive():
            await manager.shutdown_kernel(now=True)
        else:
            await manager.cleanup_resources()


async def said(client: AsyncKernelClient, code: str, timeout: float = 180.0) -> str:
    """What the code printed, and the error it ended with."""
    parts: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            parts.append(content["text"])
        elif message["msg_type"] == "error":
            parts.append(f"{content['ename']}: {content['evalue']}")
        elif message["msg_type"] == "execute_result":
            parts.append(content["data"]["text/plain"])

    await client.execute_interactive(code, timeout=timeout, output_hook=hook)
    return "".join(parts).strip()


async def replied(client: AsyncKernelClient, id: str, timeout: float = 180.0) -> dict[str, Any]:
    """The content of the reply to this request; a slow start leaves replies to older ones, which nobody waits for."""
    while True:
        reply = await client.get_shell_msg(timeout=timeout)
        if reply["parent_header"].get("msg_id") == id:
            content: dict[str, Any] = reply["content"]
            return content


async def remove_all(environments: Environments) -> None:
    """Remove every environment of this owner, and let go of the engine."""
    for environment in await environments.list():
        await environments.remove(environment.id)
    await environments.close()


Make = Callable[..., Home]
"""The fixture that makes a home with more settings."""


async def attach_kernel(kernel_name: str, info: Mapping[str, Any], *, connection_file: str = "") -> Any:
    """A manager that has a living kernel, as a server's has one of its predecessor. Raises KernelError."""
    manager = AsyncIOLoopKernelManager(kernel_name=kernel_name)
    manager.kernel_id = info["kernel_id"]
    if connection_file:
        manager.connection_file = connection_file
    loop_thread.shared(manager.config).offer(info)
    await manager.start_kernel(cwd=info["cwd"])
    return manager
