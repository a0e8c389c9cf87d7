"""Kernels of a real agent, driven by jupyter_client over ipc: what a local kernel does, a forked one does too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from jupyter_mlenv.agent import memory
from jupyter_mlenv.agent_client import KernelRequest
from jupyter_mlenv.errors import (
    EnvironmentFailed,
    KernelExists,
    KernelExited,
    KernelTimeout,
    NotFound,
    RequestInvalid,
)
from tests.support.agents import RunningAgent, agent, alive, free_port, gone, interpreters
from tests.support.kernels import replied

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def connection(running: RunningAgent, id: str) -> dict[str, Any]:
    ports = {f"{name}_port": number for number, name in enumerate(CHANNELS, 1)}
    ip = f"{running.run_dir}/k-{id[:12]}-ipc"
    common = {"key": secrets.token_hex(16), "signature_scheme": "hmac-sha256"}
    return {"transport": "ipc", "ip": ip, **ports, **common}


@dataclass
class Kernel:
    id: str
    pid: int
    forked: bool
    client: AsyncKernelClient
    outputs: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, code: str, **options: Any) -> str:
        """All that a cell prints, its result, or its error's name and message."""
        texts: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] == "execute_result":
                texts.append(content["data"]["text/plain"])
            elif message["msg_type"] == "error":
                texts.append(f"{content['ename']}: {content['evalue']}")

        await self.client.execute_interactive(code, output_hook=hook, timeout=180, **options)
        return "".join(texts).strip()

    async def value(self, code: str) -> Any:
        """What the cell prints, as JSON."""
        return json.loads(await self.run(code))


@contextlib.asynccontextmanager
async def kernel(running: RunningAgent, id: str = "", **options: Any) -> AsyncIterator[Kernel]:
    id = id or uuid.uuid4().hex
    options = {"cwd": str(running.run_dir), **options}
    wish = options.pop("connection", None) or connection(running, id)
    started = await running.client.kernels.start(id, KernelRequest(connection=wish, **options))
    client = AsyncKernelClient()
    client.load_connection_info(wish)
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=120)
        yield Kernel(id, started.pid, started.forked, client)
    finally:
        client.stop_channels()
        with contextlib.suppress(NotFound):
            await running.client.kernels.stop(id)


async def logged(running: RunningAgent, text: str) -> None:
    """Wait until the agent has printed it."""
    for _ in range(1000):
        if text in running.output.read_text(errors="replace"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(running.output.read_text(errors="replace"))


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def descriptors(running: RunningAgent) -> int:
    """Those of the agent that stay open."""
    counts = []
    for _ in range(20):
        counts.append(len(os.listdir(f"/proc/{running.process.pid}/fd")))
        await asyncio.sleep(0.01)
    return min(counts)


VIEW = """
import gc, json, os, resource, signal, sys, threading
gc.collect()
def kind(fd):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    # The history is written by a thread: its file, and the folder of it for a moment.
    return "" if "/profile_default" in target else target.split(":")[0]
kinds = sorted(filter(None, (kind(fd) for fd in os.listdir("/proc/self/fd"))))
print(json.dumps({
    "path": sys.path, "cwd": os.getcwd(), "argv": sys.argv[:2], "orig_argv": sys.orig_argv[:4],
    "signals": {s.name: repr(signal.getsignal(s)) for s in signal.valid_signals() if isinstance(s, signal.Signals)},
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "umask": os.umask(0o22), "nice": os.nice(0),
    "env": {k: v for k, v in os.environ.items()}, "leader": os.getsid(0) == os.getpgrp() == os.getpid(),
    "parent": os.getppid(), "kinds": kinds, "threads": sorted(type(t).__name__ for t in threading.enumerate()),
    "main": threading.main_thread().name, "limits": resource.getrlimit(resource.RLIMIT_NOFILE), "gc": gc.isenabled(),
    "filters": [str(f) for f in __import__("warnings").filters], "module": sorted(vars(__import__("__main__"))),
    "stdin": os.readlink("/proc/self/fd/0"), "executable": sys.executable, "flags": list(sys.flags),
}, default=str))
"""


async def test_a_forked_kernel_finds_itself_as_an_executed_one_does() -> None:
    async with agent() as running:
        views = []
        for fork in (True, False):
            async with kernel(running, fork=fork, env={"MINE": "1", "JPY_SESSION_NAME": "a.ipynb"}) as one:
                assert one.forked is fork
                views.append(await one.value(VIEW))
        forked, executed = views
        # An executed one has an event descriptor more; what must not be is one that is left over from the zygote.
        assert not Counter(forked.pop("kinds")) - Counter(executed.pop("kinds"))
        assert {key: (value, executed[key]) for key, value in forked.items() if value != executed[key]} == {}
        assert forked["parent"] == running.process.pid
        assert forked["leader"] is True
        assert forked["env"]["JPY_SESSION_NAME"] == "a.ipynb"
        assert running.client.token not in json.dumps(forked["env"])


CELLS = {
    "await": ("import asyncio; await asyncio.sleep(0.01); print('slept')", "slept"),
    "task": ("t = asyncio.create_task(asyncio.sleep(0, 7)); await t", "7"),
    "shell": ("!echo out; echo err >&2", "out\r\nerr"),
    "stderr": ("import sys; print('x', file=sys.stderr)", "x"),
    "magic": ("%%bash\necho from bash", "from bash"),
    "pip": ("%pip --version", "pip "),
    "fork": ("import multiprocessing as mp; mp.get_context('fork').Pool(2).map(abs, [-1, -2])", "[1, 2]"),
    "spawn": ("mp.get_context('spawn').Pool(1).map(abs, [-1, -2])", "[1, 2]"),
    "spawn sees the folder": (
        "open('local_module.py', 'w').write('def f(x): return x + 1\\n'); import local_module\n"
        "print(mp.get_context('spawn').Pool(1).map(local_module.f, [1]))",
        "[2]",
    ),
    "threads": ("import threading; t = threading.Thread(target=lambda: print('T')); t.start(); t.join()", "T"),
    "faulthandler": ("import faulthandler; faulthandler.enable(); faulthandler.is_enabled()", "True"),
    "history": ("%history -n 1-3", "import asyncio"),
    "child": ("import subprocess; print(subprocess.run(['cat'], capture_output=True).stdout)", "b''"),
    "linear algebra": ("import numpy; a = numpy.ones((500, 500)); (a @ a)[0, 0]", "500.0"),
    "error": ("1/0", "ZeroDivisionError"),
}


@pytest.mark.parametrize("preload", [(), ("numpy",)], ids=["plain", "preloaded"])
async def test_cells_do_in_a_forked_kernel_what_they_do_in_a_local_one(preload: tuple[str, ...]) -> None:
    async with agent() as running, kernel(running, preload=preload) as one:
        assert one.forked
        preloaded = await one.run("'numpy' in __import__('sys').modules")
        assert preloaded == str(bool(preload))
        for name, (code, expected) in CELLS.items():
            text = await one.run(code)
            assert expected in text, (name, text)


async def test_what_a_library_writes_to_the_descriptor_reaches_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # ipykernel captures no descriptors where it is set
    async with agent() as running, kernel(running) as one:
        one.client.execute("import os; os.write(1, b'from ' + b'below\\n')")
        while "from below" not in (await one.client.get_iopub_msg(timeout=120))["content"].get("text", ""):
            pass


async def test_input_completion_and_inspection() -> None:
    async with agent() as running, kernel(running) as one:

        def answer(message: dict[str, Any]) -> None:
            assert message["content"]["prompt"] == "name? "
            one.client.input("Ann")

        assert await one.run("print('hi', input('name? '))", allow_stdin=True, stdin_hook=answer) == "hi Ann"
        matches = (await one.client.complete("import os; os.getc", reply=True, timeout=120))["content"]["matches"]
        assert any("getcwd" in match for match in matches)
        found = (await one.client.inspect("len", reply=True, timeout=120))["content"]
        assert found["found"]
        info = (await one.client.kernel_info(reply=True, timeout=120))["content"]
        assert info["implementation"] == "ipython"
        assert "debugger" in info["supported_features"]


@pytest.mark.parametrize(
    "code",
    [
        "import time; print('begun', flush=True); time.sleep(100)",
        "import subprocess; print('begun', flush=True); subprocess.run(['sleep', '100'])",
        "import ctypes; c = ctypes.CDLL(None); print('begun', flush=True)\nfor _ in range(100): c.usleep(900000)",
        "import numpy; print('begun', flush=True)\nwhile True: numpy.sort(numpy.arange(300000)[::-1])",
        "import asyncio; print('begun', flush=True)\nwhile True: await asyncio.sleep(0.1)",
    ],
    ids=["sleep", "subprocess", "C", "numpy", "await"],
)
async def test_an_interrupt_reaches_the_cell_and_what_it_has_started(code: str) -> None:
    async with agent() as running, kernel(running) as one:
        begun = asyncio.Event()
        names: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                begun.set()
            names.append(message["content"].get("ename", ""))

        cell = asyncio.create_task(one.client.execute_interactive(code, output_hook=hook, timeout=180))
        await asyncio.wait_for(begun.wait(), 30)
        await asyncio.sleep(0.2)  # the print comes before what is to be interrupted
        await running.client.kernels.signal(one.id, "SIGINT")
        await cell
        assert {"KeyboardInterrupt", "CancelledError"} & set(names)
        assert await one.run("6 * 7") == "42"
        assert children(one.pid) == set()


async def test_a_subshell_answers_while_the_main_shell_is_busy() -> None:
    async with agent() as running, kernel(running) as one:
        request = one.client.session.msg("create_subshell_request")
        one.client.control_channel.send(request)
        shell = (await one.client.control_channel.get_msg(timeout=120))["content"]["subshell_id"]
        one.client.execute("import time; time.sleep(100)")
        message = one.client.session.msg("execute_request", {"code": "open('done', 'w').close()", "silent": False})
        message["header"]["subshell_id"] = shell
        one.client.shell_channel.send(message)
        reply = await one.client.shell_channel.get_msg(timeout=120)
        assert reply["parent_header"]["msg_id"] == message["header"]["msg_id"]
        assert (running.run_dir / "done").exists()


async def test_the_debugger_stops_at_a_breakpoint() -> None:
    async with agent() as running, kernel(running) as one:
        control, number = one.client.control_channel, 0

        async def debug(command: str, **arguments: Any) -> dict[str, Any]:
            nonlocal number
            number += 1
            content = {"type": "request", "seq": number, "command": command, "arguments": arguments}
            control.send(one.client.session.msg("debug_request", content))
            reply: dict[str, Any] = (await control.get_msg(timeout=120))["content"]
            assert reply["success"], reply
            return reply.get("body") or {}

        async def event(name: str) -> dict[str, Any]:
            while True:
                message = await one.client.get_iopub_msg(timeout=120)
                if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                    body: dict[str, Any] = message["content"]["body"]
                    return body

        await debug("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True)
        await debug("attach")
        code = "x = 20\ny = x + 1\nprint(x + y)"
        source = {"path": (await debug("dumpCell", code=code))["sourcePath"]}
        found = await debug("setBreakpoints", source=source, breakpoints=[{"line": 2}], sourceModified=False)
        assert found["breakpoints"][0]["verified"]
        await debug("configurationDone")
        id = one.client.execute(code)
        thread = (await event("stopped"))["threadId"]
        frame = (await debug("stackTrace", threadId=thread))["stackFrames"][0]
        assert frame["line"] == 2
        await debug("continue", threadId=thread)
        assert (await replied(one.client, id))["status"] == "ok"
        await debug("disconnect", restart=False, terminateDebuggee=False)


async def test_shutdown_runs_what_was_registered_for_it() -> None:
    async with agent() as running, kernel(running) as one:
        await one.run("import atexit; atexit.register(lambda: open('bye', 'w').close())")
        events = running.client.kernels.hold(one.id)
        assert await anext(events) == {"event": "held"}
        one.client.shutdown()
        assert (await anext(events))["exit_code"] == 0
        assert (running.run_dir / "bye").exists()
        await events.aclose()


async def test_two_forks_have_different_random_states() -> None:
    code = (
        "import json, os, random, uuid, tempfile, multiprocessing as mp, numpy, numpy.random\n"
        "session = get_ipython().kernel.session.session\n"
        "print(json.dumps([random.random(), numpy.random.rand(), numpy.random.default_rng().random(), "
        "str(uuid.uuid4()), tempfile.mktemp(), mp.current_process().authkey.hex(), session]))"
    )
    async with agent() as running:
        values = []
        for _ in range(2):
            async with kernel(running, preload=("numpy.random", "multiprocessing")) as one:
                assert one.forked
                values.append(await one.value(code))
        first, second = values
        assert not set(first) & set(second)


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "executed"])
async def test_twenty_restarts_leave_nothing_behind(fork: bool) -> None:
    async with agent() as running:
        id = uuid.uuid4().hex
        wish = connection(running, id)
        clean = sorted(os.listdir(running.run_dir))
        begun, before, pids = None, None, set()
        for number in range(20 if fork else 3):
            async with kernel(running, id, connection=wish, fork=fork) as one:
                assert one.forked is fork
                await one.run("import subprocess; subprocess.Popen(['sleep', '1000'])")
                pids |= {one.pid, *children(one.pid)}
            if number == 0:
                before = await descriptors(running)
                begun = children(running.process.pid)
        assert sorted(os.listdir(running.run_dir)) == clean
        for pid in pids:
            await gone(pid)
        assert children(running.process.pid) == begun
        assert await descriptors(running) == before
        assert await running.client.kernels.list() == []
        assert not running.failed()


async def test_death_by_a_signal_is_told_at_once_and_cleans_up() -> None:
    async with agent() as running, kernel(running) as one:
        events, late = running.client.kernels.hold(one.id), running.client.kernels.hold(one.id)
        assert await anext(events) == {"event": "held"}
        child = int(await one.run("import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"))
        os.kill(one.pid, signal.SIGKILL)
        told = await asyncio.wait_for(anext(events), 20)
        assert (told["event"], told["exit_code"], told["oom"]) == ("kernel_exited", -9, False)
        assert [event async for event in events] == []
        assert [event["event"] async for event in late] == ["held", "kernel_exited"]
        assert not list(running.run_dir.glob("k-*"))
        await gone(child)
        [status] = await running.client.kernels.list()
        assert (status.state, status.exit_code, status.holders) == ("exited", -9, 0)
        with pytest.raises(EnvironmentFailed, match="does not run"):
            await running.client.kernels.signal(one.id, "SIGINT")


async def started(running: RunningAgent, grace: float) -> tuple[str, int]:
    id = uuid.uuid4().hex
    answer = await running.client.kernels.start(id, KernelRequest(connection=connection(running, id), grace=grace))
    return id, answer.pid


async def test_a_kernel_that_nobody_holds_ends_and_one_that_is_held_again_in_time_does_not() -> None:
    async with agent() as running:
        left, left_pid = await started(running, 1)
        kept, kept_pid = await started(running, 2)
        holds = [running.client.kernels.hold(id) for id in (left, kept)]
        for events in holds:
            assert await anext(events) == {"event": "held"}
        await asyncio.sleep(1.5)
        assert [k.state for k in await running.client.kernels.list()] == ["ready", "ready"]
        for events in holds:
            await events.aclose()
        again = running.client.kernels.hold(kept)
        assert await anext(again) == {"event": "held"}
        await gone(left_pid)
        await asyncio.sleep(2)
        assert alive(kept_pid)
        await again.aclose()
        await logged(running, "nobody has held it for 1 s")


async def test_one_holder_is_enough() -> None:
    async with agent() as running:
        id, pid = await started(running, 1)
        first, second = running.client.kernels.hold(id), running.client.kernels.hold(id)
        assert await anext(first) == await anext(second)
        await first.aclose()
        await asyncio.sleep(1.5)
        assert [(k.state, k.holders) for k in await running.client.kernels.list()] == [("ready", 1)]
        await second.aclose()
        await gone(pid)


PRELOADS = {
    "missing": ("no_such_module", "cannot preload no_such_module: ModuleNotFoundError"),
    "raises": ("broken_module", "cannot preload broken_module: ZeroDivisionError"),
    "exits": ("exit_module", "cannot preload exit_module: SystemExit"),
    "thread": ("thread_module", "thread_module starts a thread"),
}


@pytest.mark.parametrize("case", PRELOADS)
async def test_a_preload_that_cannot_be_imported_prevents_nothing(case: str, tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("1/0")
    (tmp_path / "exit_module.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "thread_module.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"
    )
    name, text = PRELOADS[case]
    async with agent() as running:
        async with kernel(running, preload=(name, "numpy"), env={"PYTHONPATH": str(tmp_path)}) as one:
            assert one.forked
            assert await one.run(f"import sys; print('numpy' in sys.modules, {name!r} in sys.modules)") == "True False"
        await logged(running, text)


async def test_kernels_are_executed_where_the_zygote_cannot_run(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(3)")
    async with (
        agent() as running,
        kernel(running, preload=("deadly",), env={"PYTHONPATH": str(tmp_path)}) as one,
    ):
        assert not one.forked
        assert await one.run("1 + 1") == "2"
        await logged(running, "[zygote] ended with 3")


@pytest.mark.parametrize("known", [True, False])
async def test_the_end_of_the_zygote_harms_no_kernel(known: bool) -> None:
    """Whether the agent has noticed it by the time of the next kernel, or meets it then."""
    async with agent() as running, kernel(running) as one:
        [zygote] = children(running.process.pid) - {one.pid}
        os.kill(zygote, signal.SIGKILL)
        if known:
            await gone(zygote)
        assert await one.run("1 + 1") == "2"
        async with kernel(running) as other:
            assert other.forked
        os.kill(one.pid, signal.SIGTERM)
        assert [event["event"] async for event in running.client.kernels.hold(one.id)] == ["held", "kernel_exited"]


async def test_what_was_installed_or_edited_is_there_after_a_restart(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("X = 1\n")
    options: dict[str, Any] = {"preload": ("mine",), "env": {"PYTHONPATH": str(tmp_path)}}
    async with agent() as running:
        seen = []
        for _ in range(2):
            async with kernel(running, **options) as one:
                seen.append(await one.run("import mine; print(mine.X)"))
        [zygote] = children(running.process.pid)
        with module.open("w") as file:  # in place: the folder's time does not change
            file.write("X = 2222\n")
        for _ in range(2):
            async with kernel(running, **options) as one:
                assert one.forked
                seen.append(await one.run("import mine; print(mine.X)"))
        (tmp_path / "installed_later.py").write_text("")
        async with kernel(running, **options) as one:
            assert await one.run("import installed_later") == ""
        assert seen == ["1", "1", "2222", "2222"]
        assert children(running.process.pid) == {zygote}  # it has renewed itself


async def test_other_variables_are_there_from_the_start(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ.get('MINE'), sys.flags.optimize, sys.path[0])"
    async with agent() as running:
        async with kernel(running) as one:
            assert (await one.run(code)).startswith("None 0 ")
        env = {"MINE": "ä 1", "PYTHONOPTIMIZE": "1", "PYTHONPATH": str(tmp_path)}
        async with kernel(running, env=env) as one:
            assert one.forked
            assert await one.run(code) == f"ä 1 1 {tmp_path}"


async def test_many_variables_do_not_keep_many_zygotes() -> None:
    async with agent() as running, kernel(running, env={"N": "first"}) as one:
        for number in range(5):
            async with kernel(running, env={"N": str(number)}):
                pass
        for _ in range(500):
            if len(children(running.process.pid)) == 5:
                break
            await asyncio.sleep(0.01)
        assert len(children(running.process.pid)) == 5  # four zygotes and a kernel
        assert await one.run("import os; print(os.environ['N'])") == "first"


async def test_what_a_session_imports_later_is_there_soon_after_the_first_kernel() -> None:
    code = "import sys; print('jedi.api.completion' in sys.modules)"
    async with agent() as running:
        seen = []
        for pause in (0, 3):
            await asyncio.sleep(pause)
            async with kernel(running) as one:
                seen.append(await one.run(code))
        assert seen == ["False", "True"]


OTHER_KERNEL = """
import json, sys, zmq
from jupyter_client.session import Session
info = json.load(open(sys.argv[1]))
print("language", info["kernel_name"], flush=True)
context = zmq.Context()
def bind(name, kind):
    sock = context.socket(kind)
    colon = ":" if info["transport"] == "tcp" else "-"
    sock.bind(f"{info['transport']}://{info['ip']}{colon}{info[name + '_port']}")
    return sock
shell, control, stdin = bind("shell", zmq.ROUTER), bind("control", zmq.ROUTER), bind("stdin", zmq.ROUTER)
iopub, hb = bind("iopub", zmq.PUB), bind("hb", zmq.REP)
session = Session(key=info["key"].encode())
poller = zmq.Poller()
poller.register(shell); poller.register(hb)
while True:
    for sock, _ in poller.poll():
        if sock is hb:
            hb.send(hb.recv())
        else:
            idents, message = session.recv(shell, mode=0)
            content = {"status": "ok", "implementation": "tiny", "protocol_version": "5.3"}
            session.send(shell, "kernel_info_reply", content, parent=message, ident=idents)
            session.send(iopub, "status", {"execution_state": "idle"}, parent=message)
"""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
async def test_a_kernel_of_another_kind_is_executed(transport: str, tmp_path: Path) -> None:
    script = tmp_path / "tiny kernel.py"
    script.write_text(OTHER_KERNEL)
    async with agent() as running:
        id = "tiny/" + uuid.uuid4().hex
        wish = {**connection(running, uuid.uuid4().hex), "kernel_name": "tiny"}
        if transport == "tcp":
            wish |= {"transport": "tcp", "ip": "127.0.0.1"} | {f"{name}_port": free_port() for name in CHANNELS}
        argv = [sys.executable, str(script), "{connection_file}"]
        async with kernel(running, id, connection=wish, argv=argv) as one:
            assert not one.forked
            info = (await one.client.kernel_info(reply=True, timeout=120))["content"]
            assert info["implementation"] == "tiny"
            [file] = running.run_dir.glob("k-*.json")
            assert file.stat().st_mode & 0o777 == 0o600
            await logged(running, "[kernel tiny/")
        assert not list(running.run_dir.glob("k-*"))


async def test_a_kernel_that_ends_too_early_says_why() -> None:
    async with agent() as running:
        for argv, code in ((["sh", "-c", "echo no R here >&2; exit 4"], 4), (["no-such-program"], 127)):
            with pytest.raises(KernelExited) as caught:
                async with kernel(running, argv=argv):
                    pass
            assert caught.value.details["exit_code"] == code
            assert any("no R here" in line or "no-such-program" in line for line in caught.value.log)
        assert not list(running.run_dir.glob("k-*"))


async def test_runs_on_an_old_interpreter_and_names_what_its_image_lacks(tmp_path: Path) -> None:
    script = tmp_path / "tiny.py"
    script.write_text(OTHER_KERNEL)
    async with agent(interpreters()[0]) as running:
        wish = {**connection(running, "0" * 12), "kernel_name": "tiny"}
        async with kernel(running, connection=wish, argv=[sys.executable, str(script), "{connection_file}"]):
            pass
        if running.python != sys.executable:
            with pytest.raises(KernelExited) as caught:
                async with kernel(running):
                    pass
            assert "No module named ipykernel" in "".join(caught.value.log)
        assert not running.failed()


async def test_a_kernel_that_opens_no_sockets_is_ended() -> None:
    async with agent() as running:
        with pytest.raises(KernelTimeout) as caught:
            async with kernel(running, argv=["sh", "-c", "echo $$; exec sleep 1000"], timeout=0.5):
                pass
        await gone(int(caught.value.log[0]))


async def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    async with agent() as running, kernel(running) as one:
        client = running.client
        with pytest.raises(KernelExists):
            await client.kernels.start(one.id, KernelRequest(connection=connection(running, "0" * 12)))
        good = connection(running, "1" * 12)
        for bad in (
            {},
            {**good, "ip": str(tmp_path / "k-1")},
            {**good, "ip": f"{running.run_dir}/../k-1"},
            {**good, "ip": f"{running.run_dir}/agent"},
            {**good, "transport": "tcp", "ip": "8.8.8.8"},
            {**good, "hb_port": 0},
            {**good, "hb_port": 1},
        ):
            with pytest.raises(RequestInvalid):
                await client.kernels.start("x", KernelRequest(connection=bad))
        with pytest.raises(RequestInvalid, match="no folder /no/such"):
            await client.kernels.start("x", KernelRequest(connection=good, cwd="/no/such"))
        for call in (client.kernels.stop("x"), client.kernels.signal("x", "SIGINT"), anext(client.kernels.hold("x"))):
            with pytest.raises(NotFound):
                await call
        with pytest.raises(RequestInvalid):
            await client.kernels.signal(one.id, "SIGNOTHING")
        assert await one.run("1 + 1") == "2"


async def test_kernels_that_start_together_all_answer() -> None:
    async with agent() as running:

        async def one_kernel(number: int) -> str:
            async with kernel(running) as one:
                assert one.forked
                return await one.run(f"print({number})")

        assert await asyncio.gather(*(one_kernel(n) for n in range(6))) == [str(n) for n in range(6)]


async def test_a_kernel_that_is_stopped_while_it_starts_does_not_stay() -> None:
    async with agent() as running:
        for delay in (0, 0.05, 0.4):
            id = uuid.uuid4().hex
            start = asyncio.create_task(
                running.client.kernels.start(id, KernelRequest(connection=connection(running, id)))
            )
            await asyncio.sleep(0.02 + delay)
            await running.client.kernels.stop(id)
            with contextlib.suppress(KernelExited):
                await start
            for _ in range(1000):
                if not list(running.run_dir.glob("k-*")):
                    break
                await asyncio.sleep(0.01)
            assert not list(running.run_dir.glob("k-*"))
            for status in await running.client.kernels.list():
                await running.client.kernels.stop(status.id)


async def test_kernels_end_with_the_agent_even_if_it_is_killed() -> None:
    async with agent() as running, kernel(running) as one:
        running.process.kill()
        running.process.wait()
        await gone(one.pid)
        running.start()
        await running.client.ready(20)
        assert await running.client.kernels.list() == []


async def test_orphans_are_reaped() -> None:
    async with agent() as running, kernel(running) as one:
        code = "import os, subprocess; print(subprocess.getoutput('sh -c \"sleep 0.1 & echo \\\\$!\"'))"
        orphan = int(await one.run(code))
        for _ in range(1000):
            if not os.path.exists(f"/proc/{orphan}"):  # noqa: ASYNC240
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it is a zombie")


CGROUPS = {
    "2, own namespace": ("0::/\n", "", "memory.events", "memory.max"),
    "2, the host's": ("0::/docker/ab\n", "docker/ab", "memory.events", "memory.max"),
    "1": ("4:memory:/docker/ab\n0::/\n", "memory", "memory.oom_control", "memory.limit_in_bytes"),
    "1, shared": ("9:cpu,memory:/x/y\n", "memory/x/y", "memory.oom_control", "memory.limit_in_bytes"),
}


@pytest.mark.parametrize("version", CGROUPS)
def test_out_of_memory_is_read_from_either_version_of_cgroups(version: str, tmp_path: Path) -> None:
    text, folder, events, limit = CGROUPS[version]
    place = tmp_path / "cgroup" / folder
    place.mkdir(parents=True)
    (tmp_path / "self").write_text(text)
    (place / events).write_text("low 0\nmax 7\noom_kill_disable 0\noom 3\noom_kill 2\n")
    (place / limit).write_text("8589934592\n")
    read = memory.Memory(str(tmp_path / "cgroup"), str(tmp_path / "self"))
    assert read.limit() == 8 << 30
    read.seen()
    assert not read.killed()
    (place / events).write_text("oom 4\noom_kill 4\n")
    assert [read.killed(), read.killed(), read.killed()] == [True, True, False]


def test_no_limit_and_no_cgroup_are_none(tmp_path: Path) -> None:
    assert memory.parse_limit("max\n") is None
    assert memory.parse_limit("9223372036854771712\n") is None
    assert memory.parse_limit("") is None
    assert memory.parse_counter("oom_kill x\noom_kill\n\n", "oom_kill") == 0
    nothing = memory.Memory(str(tmp_path), str(tmp_path / "none"))
    assert (nothing.limit(), nothing.kills(), nothing.killed()) == (None, 0, False)
