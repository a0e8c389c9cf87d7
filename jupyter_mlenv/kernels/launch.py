"""The `argv` of our kernelspecs: a kernel in an environment for front ends that start kernels by themselves.

A front end that knows provisioners (Jupyter, nbconvert, papermill, …) never runs this. Others, such as editors, run the
argv of a kernel.json as it stands, on this machine. This program then is the kernel to them: it starts one in the
environment, passes the ports of the connection file on to it, and signals too; it ends with the kernel, and the kernel
with it. No code of a notebook ever runs in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from traitlets.config import Config

from .. import caller_env
from ..agent_client import KernelRequest
from ..container_layout import RUN_DIR
from ..environments import Environments
from ..environments.jobs import Jobs
from ..errors import EnvironmentFailed, MlenvError, RequestInvalid
from . import loop_thread
from .exit_reason import Exit
from .kernel_error import KernelError
from .launch_info import socket_prefix
from .placement import KernelTarget, Placement
from .remote_kernel import RemoteKernel
from .socket_forwarder import PORTS, Address
from .use_cases import UseCases

GRACE_SECONDS = 5.0
"""Seconds that the kernel lives on when this process is killed: nobody else can take it over."""

PARENT_CHECK_SECONDS = 1.0
"""Seconds between two looks whether the front end still lives."""

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
"""In the order in which a kernel's sockets are numbered."""

EVERYWHERE = {"": None, "*": None, "0.0.0.0": None}  # noqa: S104  the front end's wish
"""Names of all addresses of this machine in a connection file."""


def main() -> NoReturn:
    """Run until the kernel ends; its exit code or signal is this process's."""
    parser = argparse.ArgumentParser(prog="jupyter_mlenv.kernels.launch", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", required=True, help="the preset of the environment")
    parser.add_argument("--workspace", default="", help="the project folder; default: that of the current folder")
    parser.add_argument("--name", default="", help="the environment's name, where it has one")
    parser.add_argument("-f", dest="file", required=True, help="the connection file")
    args, _ = parser.parse_known_args()  # options of ipykernel have no meaning out here
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    try:
        ended = asyncio.run(run(args.preset, args.file, args.workspace, args.name))
    except MlenvError as error:
        sys.exit(str(KernelError(error)))
    if ended.reason:
        sys.stderr.write(f"{ended.reason}\n")
        sys.stderr.flush()
    if ended.code < 0:  # by the same signal, as whoever started us expects it of a kernel
        with suppress(OSError):
            signal.signal(-ended.code, signal.SIG_DFL)
        os.kill(os.getpid(), -ended.code)
    sys.exit(ended.code)


async def run(preset: str, file: str, workspace: str = "", name: str = "") -> Exit:
    """Start the kernel, and be it until it ends. Raises MlenvError."""
    connection = read_connection(file)
    # The same at each start with this file, so that a kernel that is left over from the last one is found and ended.
    id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{os.path.realpath(file)} {connection['key']}"))  # noqa: ASYNC240
    config = loop_thread.configured(Config())
    settings = config.settings()
    use_cases = UseCases(lambda: Environments(config.engine(), settings, Jobs()), settings)
    kernel = LaunchedKernel(use_cases, KernelTarget(preset, os.getcwd(), id, workspace, name), connection)
    loop = asyncio.get_running_loop()
    work = loop.create_task(kernel.serve())
    asked: list[signal.Signals] = []
    interrupts: set[asyncio.Task[None]] = set()

    def end(number: signal.Signals) -> None:
        if not asked:
            asked.append(number)
            work.cancel()

    def interrupt() -> None:
        task = loop.create_task(kernel.interrupt())
        interrupts.add(task)
        task.add_done_callback(interrupts.discard)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    watch = loop.create_task(orphaned(lambda: end(signal.SIGTERM)))
    try:
        return await work
    except asyncio.CancelledError:
        if not asked:
            raise
        return Exit(-int(asked[0]))
    finally:
        watch.cancel()
        await use_cases.close()


def read_connection(file: str) -> dict[str, Any]:
    """Read a connection file of the front end. Raises RequestInvalid."""
    try:
        with open(file, encoding="utf-8") as opened:
            connection = json.load(opened)
        ports = [connection[f"{channel}_port"] for channel in CHANNELS]
        good = isinstance(connection["key"], str) and isinstance(connection.get("ip", ""), str)
        good &= all(isinstance(port, int) and 0 < port < 65536 for port in ports) and len(set(ports)) == len(ports)
        good &= connection.get("transport", "tcp") in ("tcp", "ipc")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestInvalid(
            f"The connection file {file} cannot be read: {type(error).__name__}: {error}.",
            hint="It is written by the program that starts the kernel.",
        ) from error
    if not good:
        raise RequestInvalid(
            f"The connection file {file} names no key and five ports that differ.",
            hint="It is written by the program that starts the kernel.",
        )
    return dict(connection)


def addresses(connection: Mapping[str, Any]) -> list[Address]:
    """Return the addresses where the front end looks for the kernel's five sockets, in the order of their numbers."""
    ip = str(connection.get("ip", ""))
    ports = [int(connection[f"{channel}_port"]) for channel in CHANNELS]
    if connection.get("transport", "tcp") == "ipc":
        return [f"{ip}-{port}" for port in ports]
    return [(EVERYWHERE.get(ip, ip), port) for port in ports]


class LaunchedKernel:
    """A kernel in its environment, behind the addresses of a connection file on this machine."""

    def __init__(self, use_cases: UseCases, target: KernelTarget, connection: Mapping[str, Any]) -> None:
        self._remote = RemoteKernel(use_cases, target.kernel_id)
        self._target, self._connection = target, connection

    async def serve(self) -> Exit:
        """Start it and wait for its end, which a cancel brings about. Raises MlenvError."""
        remote = self._remote
        place = await remote.find(self._target)
        try:
            await remote.start(self._request(place))
            try:
                await remote.forward(addresses(self._connection))
            except OSError as error:
                ip = self._connection.get("ip")
                raise EnvironmentFailed(
                    f"The ports of the connection file cannot be opened at {ip}: {error.strerror}.",
                    hint="Start the kernel again; it gets other ports then.",
                    details={"environment": place.environment},
                ) from error
            try:
                return await remote.follow()
            finally:
                await remote.disconnect()
        finally:
            await remote.end(logging.getLogger("jupyter_mlenv"))

    async def interrupt(self) -> None:
        """Send SIGINT to the kernel and what its cell has started; nothing where it is starting or has ended."""
        with suppress(MlenvError):
            await self._remote.signal("SIGINT")

    def _request(self, place: Placement) -> KernelRequest:
        prefix = socket_prefix(self._target.kernel_id)
        numbers = {f"{channel}_port": number for channel, number in zip(CHANNELS, PORTS, strict=True)}
        env = caller_env.passed(os.environ, self._remote.use_cases.settings.pass_env)
        if session := os.environ.get("JPY_SESSION_NAME", ""):
            env["JPY_SESSION_NAME"] = session
        return place.request(
            {**self._connection, "transport": "ipc", "ip": f"{RUN_DIR}/{prefix}", **numbers},
            env=env,
            grace=min(GRACE_SECONDS, self._remote.use_cases.settings.kernel_grace),
        )


async def orphaned(told: Callable[[], None]) -> None:
    """Tell when the front end has gone; ipykernel does the same, and also only where there is this variable."""
    parent = os.getppid()
    while "JPY_PARENT_PID" in os.environ:
        await asyncio.sleep(PARENT_CHECK_SECONDS)
        if os.getppid() != parent:
            told()
            return
