"""Commands that a person runs in a container, with and without a terminal, and the terminal they are joined to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mlenv.agent_client.exec_session import ExecSession
from jupyter_mlenv.cli.terminal import attach
from jupyter_mlenv.errors import AgentUnreachable, RequestInvalid
from tests.support.agents import RunningAgent, agent, gone, raw

PYTHON = [sys.executable, "-u", "-c"]


async def collect(session: ExecSession) -> dict[str, bytes]:
    output = {"stdout": b"", "stderr": b""}
    async for stream, data in session:
        output[stream] += data
    return output


async def read_until(session: ExecSession, text: bytes) -> bytes:
    seen = b""
    async for _, data in session:
        seen += data
        if text in seen:
            return seen
    raise AssertionError(f"{text!r} never came: {seen!r}")


async def test_output_errors_and_exit_code_arrive_apart() -> None:
    async with agent() as running:
        async with await running.client.exec(["sh", "-c", "echo out; echo err >&2; exit 7"]) as session:
            assert await collect(session) == {"stdout": b"out\n", "stderr": b"err\n"}
            assert session.exit_code == 7
        async with await running.client.exec(["sh", "-c", "kill -9 $$"]) as session:
            assert await session.wait() == -9


async def test_environment_and_folder_are_those_asked_for(tmp_path: Path) -> None:
    async with agent() as running:
        command = ["sh", "-c", 'echo $GREETING; pwd; test -n "$PATH"']
        async with await running.client.exec(command, env={"GREETING": "hey"}, cwd=str(tmp_path)) as session:
            assert (await collect(session))["stdout"] == f"hey\n{tmp_path}\n".encode()
            assert session.exit_code == 0


@pytest.mark.parametrize("tty", [False, True])
async def test_a_program_or_folder_that_is_not_there_is_named(tty: bool) -> None:
    async with agent() as running:
        with pytest.raises(RequestInvalid, match="no-such-program"):
            await running.client.exec(["no-such-program"], tty=tty)
        with pytest.raises(RequestInvalid, match="no/such/folder"):
            await running.client.exec(["true"], cwd="/no/such/folder", tty=tty)
        with pytest.raises(RequestInvalid):
            await running.client.exec([], tty=tty)


async def test_large_binary_input_comes_back_whole() -> None:
    data = random.Random(1).randbytes(8 << 20)
    async with agent() as running, await running.client.exec(["cat"]) as session:

        async def send() -> None:
            await session.write(data)
            await session.write_eof()

        output, _ = await asyncio.gather(collect(session), send())
        assert hashlib.sha256(output["stdout"]).digest() == hashlib.sha256(data).digest()
        assert session.exit_code == 0


async def test_output_up_to_the_exit_is_not_lost_but_a_background_process_does_not_hold_the_session() -> None:
    script = "sleep 1000 & head -c 60000 /dev/zero; echo $! >&2"
    async with agent() as running, await running.client.exec(["sh", "-c", script]) as session:
        output = await asyncio.wait_for(collect(session), 20)
        assert len(output["stdout"]) == 60000
        os.kill(int(output["stderr"]), signal.SIGKILL)  # it runs on, as after `docker exec`


async def test_input_for_a_command_that_reads_none_is_no_error() -> None:
    async with agent() as running, await running.client.exec(["true"]) as session:
        await session.write(b"x" * 300000)
        assert await session.wait() == 0


async def test_a_command_with_a_terminal_has_one() -> None:
    script = "test -t 0 && test -t 1 && test -t 2; echo $?; stty size; echo $TERM"
    async with agent() as running:
        async with await running.client.exec(["sh", "-c", script], tty=True, rows=33, cols=101) as session:
            term = os.environ.get("TERM", "xterm-256color")
            assert (await collect(session))["stdout"] == f"0\r\n33 101\r\n{term}\r\n".encode()
        async with await running.client.exec(["sh", "-c", "echo $TERM"], tty=True, env={"TERM": "dumb"}) as session:
            assert (await collect(session))["stdout"] == b"dumb\r\n"


async def test_a_resize_reaches_the_terminal() -> None:
    script = "import os, signal; signal.signal(signal.SIGWINCH, lambda *_: print(os.get_terminal_size()))\n"
    script += "print('ready')\nwhile True: signal.pause()"
    async with agent() as running, await running.client.exec([*PYTHON, script], tty=True) as session:
        await read_until(session, b"ready")
        await session.resize(50, 132)
        assert b"columns=132, lines=50" in await read_until(session, b")")


async def test_ctrl_c_typed_and_ctrl_d_do_what_they_do_in_a_terminal() -> None:
    async with agent() as running:
        async with await running.client.exec(["cat"], tty=True) as session:
            await session.write(b"a\n")
            assert await read_until(session, b"a\r\na\r\n")  # echoed, and copied: it runs now
            await session.write(b"\x03")
            assert await session.wait() == -signal.SIGINT
        async with await running.client.exec(["cat"], tty=True) as session:
            await session.write(b"a\n")
            await session.write_eof()
            assert (await collect(session))["stdout"] == b"a\r\na\r\n"
            assert session.exit_code == 0


@pytest.mark.parametrize("tty", [False, True])
async def test_signals_reach_a_subprocess_too(tty: bool) -> None:
    script = "trap 'echo parent' INT; (trap 'echo child; exit' INT; echo ready; sleep 5 & wait); exit 5"
    async with agent() as running, await running.client.exec(["sh", "-c", script], tty=tty) as session:
        await read_until(session, b"ready")
        await session.signal("SIGNONE")  # makes no sense and is ignored
        await session.signal("SIGINT")
        output = await collect(session)
        assert b"child" in output["stdout"]
        assert b"parent" in output["stdout"]
        assert session.exit_code == 5


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_ends_when_its_client_goes_away(tty: bool) -> None:
    async with agent() as running:
        session = await running.client.exec(["sh", "-c", "sleep 1000 & echo $$ $!; wait"], tty=tty)
        pids = [int(pid) for pid in (await read_until(session, b"\n")).split()]
        await session.close()
        for pid in pids:
            await gone(pid)
        assert not running.failed()


async def test_a_client_that_does_not_read_holds_the_command_back_and_its_end_is_noticed() -> None:
    async with agent() as running:
        session = await running.client.exec(["sh", "-c", "echo $$; exec yes"])
        pid = int((await read_until(session, b"\n")).split()[0])
        await asyncio.sleep(0.2)
        assert (await running.client.health())["pid"] == running.process.pid
        await session.close()
        await gone(pid)


async def test_an_agent_that_ends_is_told_to_the_client() -> None:
    async with agent() as running:
        session = await running.client.exec(["sleep", "1000"])
        running.process.kill()
        with pytest.raises(AgentUnreachable):
            await session.wait()
        await session.close()


async def test_frames_that_make_no_sense_harm_nobody() -> None:
    import base64
    import json

    async with agent() as running:
        for tail in (b"\x09\0\0\0\x02ab", b"\x01\0\0\0\x01x", b"\x02\0\0\0\0", b"\x00\xff\xff\xff\xff", b"\x00\0\0"):
            wish = base64.b64encode(json.dumps({"command": ["cat"]}).encode()).decode()
            head = f"POST /v1/exec HTTP/1.1\r\nAuthorization: Bearer {running.client.token}\r\n"
            head += f"Upgrade: mlenv-exec\r\nX-Mlenv-Exec: {wish}\r\n\r\n"
            assert b"101" in await raw(running, head.encode() + tail)
        assert not running.failed()
        assert (await running.client.health())["pid"] == running.process.pid


# The person's side.


class Person:
    """A pseudo-terminal in which `attach` runs, as in a terminal window; what it shows is collected."""

    def __init__(self) -> None:
        self.window, self.terminal = pty.openpty()
        self.resize(24, 80)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.window, 65536):
                self.shown += data

    def resize(self, rows: int, cols: int) -> None:
        size = rows.to_bytes(2, sys.byteorder) + cols.to_bytes(2, sys.byteorder) + bytes(4)
        fcntl.ioctl(self.window, termios.TIOCSWINSZ, size)

    async def sees(self, text: bytes) -> None:
        for _ in range(2000):
            if text in self.shown:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{text!r} is not in {self.shown!r}")

    def mode(self) -> list[object]:
        return termios.tcgetattr(self.terminal)


@pytest.fixture
def person() -> Iterator[Person]:
    person = Person()
    yield person
    os.close(person.terminal)
    person._reader.join(5)
    os.close(person.window)


async def in_terminal(running: RunningAgent, person: Person, command: list[str]) -> asyncio.Task[int]:
    session = await running.client.exec(command, tty=True)
    terminal = person.terminal
    return asyncio.create_task(attach(session, terminal, terminal, terminal))


async def test_an_interactive_shell_in_a_terminal(person: Person) -> None:
    before = person.mode()
    async with agent() as running:
        task = await in_terminal(running, person, ["sh", "-i"])
        os.write(person.window, b"stty size; echo $((6*7))-answer\n")
        await person.sees(b"42-answer")
        assert person.mode() != before
        person.resize(40, 120)
        signal.raise_signal(signal.SIGWINCH)
        await asyncio.sleep(0.1)
        os.write(person.window, b"stty size\n")
        await person.sees(b"40 120")
        os.write(person.window, b"sleep 1000\n")
        await asyncio.sleep(0.3)
        os.write(person.window, b"\x03")
        os.write(person.window, b"exit 9\n")
        assert await asyncio.wait_for(task, 120) == 9
        assert person.mode() == before


async def test_the_terminal_is_restored_when_the_environment_goes_away(person: Person) -> None:
    before = person.mode()
    async with agent() as running:
        task = await in_terminal(running, person, ["sh", "-c", "echo here; sleep 1000"])
        await person.sees(b"here")
        running.process.kill()
        with pytest.raises(AgentUnreachable):
            await asyncio.wait_for(task, 120)
        assert person.mode() == before


async def test_a_cancelled_shell_restores_the_terminal_and_ends_the_command(person: Person) -> None:
    before = person.mode()
    async with agent() as running:
        task = await in_terminal(running, person, ["sh", "-c", "echo pid $$ .; sleep 1000"])
        await person.sees(b".")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert person.mode() == before
        await gone(int(person.shown.split()[1]))


ATTACH = """
import asyncio, sys
from jupyter_mlenv.agent_client import AgentClient
from jupyter_mlenv.agent_client.routes import UnixRoute
from jupyter_mlenv.cli.terminal import attach

async def main():
    client = AgentClient(UnixRoute(sys.argv[1]), sys.argv[2])
    return await attach(await client.exec(sys.argv[3:]))

sys.exit(asyncio.run(main()))
"""


def attached(running: RunningAgent, *command: str) -> list[str]:
    return [sys.executable, "-c", ATTACH, str(running.run_dir / "agent.sock"), running.client.token, *command]


async def test_pipes_pass_bytes_as_they_are(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(1 << 20)
    file = tmp_path / "data"
    file.write_bytes(data)
    async with agent() as running:
        done = await asyncio.to_thread(subprocess.run, attached(running, "cat"), input=data, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
        for source in (file, Path("/dev/null")):
            with source.open("rb") as stdin:
                command = attached(running, "sh", "-c", "cat; echo err >&2; exit 3")
                done = await asyncio.to_thread(subprocess.run, command, stdin=stdin, capture_output=True)
            assert (done.returncode, done.stdout, done.stderr) == (3, source.read_bytes(), b"err\n")


async def test_a_closed_output_ends_the_command() -> None:
    async with agent() as running:
        command = attached(running, "sh", "-c", "echo $$; exec yes")
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert await asyncio.wait_for(process.wait(), 20) == 128 + signal.SIGPIPE
        await gone(pid)


async def test_ctrl_c_is_passed_on_and_a_second_one_gives_up() -> None:
    async with agent() as running:
        script = "trap 'echo again' INT; echo $$; while true; do sleep 0.05; done"
        process = await asyncio.create_subprocess_exec(
            *attached(running, "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"again\n"
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 128 + signal.SIGINT
        await gone(pid)
