"""Memory of the container's cgroup: the limit, and whether a process that ended was out of it.

Part of the agent: Python >= 3.8, standard library only.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNLIMITED_BYTES = 1 << 60  # version 1 of cgroups says "no limit" with a number near 2^63


class Memory:
    """The memory controller of the container's cgroup, of either version.

    The count of processes that the system has killed for want of memory says nothing about which; a kernel that was
    killed by SIGKILL, and not by us, while the count went up was one of them.
    """

    def __init__(self, root: str = "/sys/fs/cgroup", of_process: str = "/proc/self/cgroup") -> None:
        self.folders = list(memory_folders(read(of_process), root))
        self.told = 0

    def limit(self) -> int | None:
        """Bytes; None without a limit."""
        names = ("memory.max", "memory.limit_in_bytes")
        return parse_limit(self.first(names))

    def kills(self) -> int:
        return parse_counter(self.first(("memory.events", "memory.oom_control")), "oom_kill")

    def first(self, names: Iterable[str]) -> str:
        texts = (read(os.path.join(folder, name)) for folder in self.folders for name in names)
        return next((text for text in texts if text), "")

    def seen(self) -> None:
        """Reset the baseline: kills counted so far are not this kernel's."""
        self.told = self.kills()

    def killed(self) -> bool:
        """Return whether the system has killed one more."""
        more = self.kills() > self.told
        self.told += more
        return more


def memory_folders(of_process: str, root: str) -> Iterable[str]:
    """Return the folders where a process's memory controller may be mounted, from the text of /proc/<pid>/cgroup."""
    for line in of_process.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield root + path.rstrip("/")
            yield root
        elif "memory" in controllers.split(","):
            yield root + "/memory" + path.rstrip("/")
            yield root + "/memory"  # inside a container its own folder is mounted there, whatever the path says


def parse_counter(text: str, name: str) -> int:
    """A value of `memory.events` or `memory.oom_control`, 0 if it is not there."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return 0


def parse_limit(text: str) -> int | None:
    """`memory.max` or `memory.limit_in_bytes` in bytes; None for no limit."""
    number = text.strip()
    return int(number) if number.isdigit() and int(number) < UNLIMITED_BYTES else None


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read(65536)
    except OSError:
        return ""
