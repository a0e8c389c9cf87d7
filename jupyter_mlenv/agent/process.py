"""The agent's child processes, each the leader of a session of its own."""

from __future__ import annotations

import os
import signal

from .loop import until

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from typing import Any

    from .loop import Loop, Waiters

STOP_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
PIPE, STDOUT, DEVNULL = -1, -2, -3  # of `subprocess`, which is imported late


def not_started(error: Exception) -> str:
    """Return why a process could not be started, in words where the system has only a number."""
    if isinstance(error, PermissionError) and os.path.isdir(error.filename or ""):
        return f"the folder {error.filename} may not be entered by the person that the environment runs as"
    if not isinstance(error, BlockingIOError):
        named = isinstance(error, OSError) and error.strerror and error.filename
        return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]
    for place in ("pids.max", "pids/pids.max"):
        try:
            with open("/sys/fs/cgroup/" + place) as file:
                return f"the environment may have no more processes and threads: its limit is {file.read().strip()}"
        except OSError:
            continue
    return "the environment may have no more processes and threads"


class Child:
    """A process in a group of its own. `changed` is fired once it has ended and `exit_code` is known."""

    def __init__(self, loop: Loop, changed: Waiters, argv: list[str], **options: Any) -> None:
        import subprocess  # noqa: PLC0415  10 ms that starting does not need

        self.loop, self.changed = loop, changed
        self.exit_code: int | None = None
        self.popen = subprocess.Popen(argv, start_new_session=True, **options)
        self.pid = self.popen.pid

    def ended(self) -> bool:
        return self.exit_code is not None

    def reap(self, kill_group: bool) -> bool:
        """Return whether it has ended. The rest of its group is killed while its number cannot be another's."""
        if self.exit_code is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if kill_group:
                self.signal(signal.SIGKILL)
            self.exit_code = self.collect()
            self.loop.fire(self.changed)
        return self.ended()

    def collect(self) -> int:
        return int(self.popen.wait())

    def signal(self, number: int) -> None:
        if self.exit_code is None:
            try:  # noqa: SIM105
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # only zombies are left of it, or it has changed its user

    async def stop(self, number: int, grace: float) -> None:
        """The signal, then SIGKILL after `grace` seconds."""
        self.signal(number)
        self.signal(signal.SIGCONT)
        if not await until(self.changed, self.ended, grace):
            self.signal(signal.SIGKILL)
            await until(self.changed, self.ended, STOP_GRACE_SECONDS)


class Reparented(Child):
    """A process that somebody else forked and that has become our child, the leader of a session too."""

    def __init__(self, loop: Loop, changed: Waiters, pid: int, exit_code: int | None) -> None:
        self.loop, self.changed, self.pid, self.exit_code = loop, changed, pid, exit_code

    def collect(self) -> int:
        return exit_code(os.waitpid(self.pid, 0)[1])


def exit_code(status: int) -> int:
    """Return the exit code of a wait status, negative for a signal: `os.waitstatus_to_exitcode` came with Python
    3.9."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


class Children:
    """All child processes, and whether the rest of its group dies with each."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.all: dict[Child, bool] = {}
        self.subreaper = False  # whether orphans below us become ours
        self.claims = 0  # processes that are being forked for us
        self.strays: dict[int, int] = {}  # pid -> exit code of children that have not been claimed yet

    def start(self, changed: Waiters, argv: list[str], kill_group: bool = True, **options: Any) -> Child:
        """Run a program. Raises OSError, ValueError."""
        child = Child(self.loop, changed, argv, **options)
        self.all[child] = kill_group
        return child

    def claim(self, changed: Waiters, pid: int) -> Child:
        """Take a process that has been forked for us, whether or not it has ended since `claims` was raised."""
        child = Reparented(self.loop, changed, pid, self.strays.pop(pid, None))
        if not child.ended():
            self.all[child] = True
        return child

    def reap(self) -> None:
        """Take note of the children that have ended."""
        for child in [child for child, kill_group in self.all.items() if child.reap(kill_group)]:
            del self.all[child]
        if self.subreaper:
            self._reap_strays()

    def _reap_strays(self) -> None:
        """Reap children that are nobody's: orphans of services and kernels, or a fork that is not claimed yet."""
        known = {child.pid for child in self.all}
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None or info.si_pid in known:
                return
            code = exit_code(os.waitpid(info.si_pid, 0)[1])
            if self.claims:
                self.strays[info.si_pid] = code
