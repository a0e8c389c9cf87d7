"""Bursts of output from kernels of a real agent: nothing is lost on the way to a client that is slower."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
import zmq
import zmq.asyncio

from jupyter_mlenv.agent.kernel_process import iopub
from tests.agent.test_kernels import VIEW, Kernel, kernel
from tests.support.agents import agent
from tests.support.kernels import replied

OUTPUTS = 5000

BURST = f"""
from IPython.display import display
for i in range({OUTPUTS}):
    display({{"text/plain": str(i)}}, raw=True)
"""

LARGE = """
from IPython.display import display
for i in range(200):
    display({"text/plain": str(i) + "x" * 200_000}, raw=True)
"""

RESIDENT = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')][0])"


async def slowly(one: Kernel, code: str, busy: float) -> tuple[list[str], bool]:
    """What a cell displayed to a client that reads late and is busy with each message, and whether it ended."""
    id = one.client.execute(code, store_history=False)
    await replied(one.client, id)
    shown: list[str] = []
    while True:
        message = await one.client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != id:
            continue
        if message["content"].get("execution_state") == "idle":
            return shown, True
        if message["msg_type"] == "display_data":
            shown.append(message["content"]["data"]["text/plain"])
        time.sleep(busy)  # noqa: ASYNC251  a client that is busy, which is the point


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "executed"])
@pytest.mark.parametrize("busy", [0.0, 0.0003, 0.001], ids=["eager", "busy", "busier"])
async def test_a_burst_reaches_a_slow_client_whole(fork: bool, busy: float) -> None:
    async with agent() as running, kernel(running, fork=fork) as one:
        assert one.forked is fork
        shown, ended = await slowly(one, BURST, busy)
        assert (len(shown), ended) == (OUTPUTS, True)
        assert shown == [str(i) for i in range(OUTPUTS)]


async def test_a_burst_from_the_kernelspec_of_an_image_arrives_too() -> None:
    """It names ipykernel in its own way."""
    argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    async with agent() as running, kernel(running, argv=argv) as one:
        shown, ended = await slowly(one, BURST, 0.0)
        assert (len(shown), ended) == (OUTPUTS, True)


async def test_a_client_that_never_reads_costs_no_more_than_is_said_and_the_others_go_on() -> None:
    async with agent() as running, kernel(running) as one:
        # A socket's queue holds 1,000 messages, here of 200 kB, besides the 64 MiB that wait.
        bound = 1000 * 200 + (64 << 10) + (40 << 10)
        before = int(await one.run(RESIDENT))
        with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as sleeper:
            info: dict[str, Any] = one.client.get_connection_info()
            sleeper.linger = 0
            sleeper.subscribe(b"")
            sleeper.connect(f"ipc://{info['ip']}-{info['iopub_port']}")
            while (await one.run("print('there')")) and not await sleeper.poll(10):
                pass
            for _ in range(10):  # one that reads is never far behind, however busy this machine is
                shown: list[dict[str, Any]] = []
                await one.client.execute_interactive(LARGE, output_hook=shown.append, timeout=600)
                assert len([message for message in shown if message["msg_type"] == "display_data"]) == 200
            assert int(await one.run(RESIDENT)) - before < bound
            assert await one.run("1 + 1") == "2"


class Narrow:
    """A thread of ipykernel's whose socket takes a message only at every third attempt, or whenever it may drop."""

    def __init__(self) -> None:
        self.socket, self.closed, self.attempts = self, False, 0
        self.sent: list[bytes] = []

    def setsockopt(self, option: int, value: int) -> None:
        assert option == zmq.XPUB_NODROP

    def send(self, _: Any, message: Any, flags: int = 0) -> None:
        self.attempts += 1
        if flags and self.attempts % 3:
            raise zmq.Again
        self.sent.append(message[0])


def test_what_waits_is_sent_before_the_kernel_ends() -> None:
    thread = Narrow()
    waiting = iopub.Waiting(thread, thread.send)
    waiting.pause = 1.0  # an attempt is planned, and will not come
    for number in range(5):
        waiting.put([b"%d" % number], {})
    assert thread.sent == []
    waiting.finish()
    assert thread.sent == [b"0", b"1", b"2", b"3", b"4"]
    assert (list(waiting.messages), waiting.size) == ([], 0)


def test_no_more_waits_than_is_said() -> None:
    thread = Narrow()
    waiting = iopub.Waiting(thread, thread.send)
    waiting.pause = 1.0
    for number in range(100):
        waiting.put([b"%d" % number, b"x" * (1 << 20)], {})
        assert waiting.size <= iopub.MAX_WAITING_BYTES
    assert [*thread.sent, *(message[0] for message, _, _ in waiting.messages)] == [b"%d" % n for n in range(100)]


async def test_an_executed_kernel_finds_itself_as_with_m() -> None:
    """Its launcher is not to be seen."""
    plain = ["sh", "-c", f'exec {sys.executable} -m ipykernel_launcher -f "$0"', "{connection_file}"]
    views = []
    ways: tuple[dict[str, Any], ...] = ({"fork": False}, {"argv": plain})
    async with agent() as running:
        for options in ways:
            async with kernel(running, **options, env={"PYTHONPATH": str(running.run_dir)}) as one:
                views.append(await one.value(VIEW))
                assert await one.run("import sys; [m for m in sys.modules if 'mlenv' in m or m in ('iopub',)]") == "[]"
    ours, local = views
    for view in views:
        view["env"] = {name: value for name, value in view["env"].items() if name not in ("_", "OLDPWD", "PWD")}
    assert {key: (value, local[key]) for key, value in ours.items() if value != local[key]} == {}
