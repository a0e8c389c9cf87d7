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

from ..container_layout import RUN_DIR
from ..environments import Environments
from ..environments.jobs import Jobs
from ..errors import EnvironmentFailed, MlenvError, RequestInvalid
from . import loop_thread, placement, remote_kernel
from .exit_reason import Exit, follow
from .kernel_error import KernelError
from .launch_info import socket_prefix
from .placement import Place, Wish
from .socket_forwarder import PORTS, Address, Relay

START_TIMEOUT = 60.0
"""Seconds from the start of a kernel's process to bound sockets."""

GRACE = 5.0
"""Seconds that the kernel lives on when this process is killed: nobody else can take it over."""

LOOK = 1.0
"""Seconds between two looks whether the front end still lives."""

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
"""In the order in which a kernel's sockets are numbered."""

EVERYWHERE = {"": None, "*": None, "0.0.0.0": None}  # noqa: S104  the front end's wish
"""What a connection file may call all addresses of this machine."""


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
    environments = Environments(config.engine(), config.settings(), Jobs())
    kernel = Kernel(environments, Wish(preset, os.getcwd(), id, workspace, name), connection)
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
        await environments.close()


def read_connection(file: str) -> dict[str, Any]:
    """What the front end wrote down. Raises RequestInvalid."""
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
    """Where the front end looks for the kernel's five sockets, in the order of their numbers inside."""
    ip = str(connection.get("ip", ""))
    ports = [int(connection[f"{channel}_port"]) for channel in CHANNELS]
    if connection.get("transport", "tcp") == "ipc":
        return [f"{ip}-{port}" for port in ports]
    return [(EVERYWHERE.get(ip, ip), port) for port in ports]


class Kernel:
    """A kernel in its environment, behind the addresses of a connection file on this machine."""

    def __init__(self, environments: Environments, wish: Wish, connection: Mapping[str, Any]) -> None:
        self._environments, self._wish, self._connection = environments, wish, connection
        self._place: Place | None = None

    async def serve(self) -> Exit:
        """From its start to its end, which a cancel brings about. Raises MlenvError."""
        environments, wish = self._environments, self._wish
        place = found = await placement.find(environments, wish)
        try:
            self._place = place = (await remote_kernel.start(environments, wish, found, self._options(found)))[0]
            names = [f"{socket_prefix(wish.kernel_id)}-{number}" for number in PORTS]
            relay = Relay(place.agent, dict(zip(addresses(self._connection), names, strict=True)))
            try:
                await self._listen(relay, place)
                return await follow(environments, place.environment, place.agent, wish.kernel_id)
            finally:
                await relay.close()
        finally:
            await remote_kernel.end(environments, wish.kernel_id, place, logging.getLogger("jupyter_mlenv"))

    async def interrupt(self) -> None:
        """SIGINT to the kernel and what its cell has started; nothing where it is starting or has ended."""
        if self._place is not None:
            with suppress(MlenvError):
                await self._place.agent.signal_kernel(self._wish.kernel_id, "SIGINT")

    def _options(self, found: Place) -> dict[str, Any]:
        prefix = socket_prefix(self._wish.kernel_id)
        numbers = {f"{channel}_port": number for channel, number in zip(CHANNELS, PORTS, strict=True)}
        session = os.environ.get("JPY_SESSION_NAME", "")
        return {
            "connection": {**self._connection, "transport": "ipc", "ip": f"{RUN_DIR}/{prefix}", **numbers},
            "argv": list(found.options.argv) or None,
            "spec": found.options.spec,
            "env": {"JPY_SESSION_NAME": session} if session else {},
            "cwd": found.cwd,
            "preload": list(found.options.preload),
            "fork": found.options.fork,
            "timeout": START_TIMEOUT,
            "grace": min(GRACE, self._environments.settings.kernel_grace),
            "note": {},
            "alone": found.isolated,
        }

    async def _listen(self, relay: Relay, place: Place) -> None:
        try:
            await relay.start()
        except OSError as error:
            raise EnvironmentFailed(
                f"The ports of the connection file cannot be opened at {self._connection.get('ip')}: {error.strerror}.",
                hint="Start the kernel again; it gets other ports then.",
                details={"environment": place.environment},
            ) from error


async def orphaned(told: Callable[[], None]) -> None:
    """Tell when the front end has gone; ipykernel does the same, and also only where there is this variable."""
    parent = os.getppid()
    while "JPY_PARENT_PID" in os.environ:
        await asyncio.sleep(LOOK)
        if os.getppid() != parent:
            told()
            return
