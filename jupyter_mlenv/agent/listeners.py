"""Listeners: the programs in the environment that take TCP connections, as Linux tells them (proc_net_tcp(5))."""

from __future__ import annotations

import json
import os
import stat
import sys

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

LISTEN = "0A"
"""The state of a socket that listens, TCP_LISTEN of linux/tcp_states.h."""

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an address that is read
"""Where one is reached that listens on every address."""

MAX_PORTS = 200
"""Ports that are told of, the lowest; an environment has a handful."""

MAX_CONNECTION_BYTES = 16384
"""Bytes of a connection file; it has a few hundred."""

MAX_NAME_CHARS = 80

OURS = "/opt/jupyter-mlenv/"
"""The folder of what runs our own kernels."""


def listening(tables: tuple[str, ...] = TABLES) -> Iterator[tuple[int, str, str]]:
    """Yield the port, the address to reach it at, and the inode of each socket that listens."""
    for table in tables:
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue  # no IPv6 here
        for line in lines:
            words = line.split()
            address, _, number = words[1].partition(":")
            if words[3] == LISTEN:
                yield int(number, 16), reached(address), words[9]


def addresses(port: int, tables: tuple[str, ...] = TABLES) -> list[str]:
    """The addresses at which something that listens on this port is reached from inside."""
    return list(dict.fromkeys(address for number, address, _ in listening(tables) if number == port))


def reached(words: str) -> str:
    """The address in words of 32 bits, each in this machine's own order of bytes."""
    import socket  # noqa: PLC0415  long there; this module itself is needed by few

    data = b"".join(int(words[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(words), 8))
    address = socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    return ANY.get(address, address)


def ports(taken: set[int], proc: str = "/proc", tables: tuple[str, ...] = TABLES) -> list[dict[str, Any]]:
    """The ports of programs that somebody has started in here, with their names.

    Not those of `taken`, of this process, and of kernels for their clients; nor, in the machine's own network, those of
    programs outside, which have no process in here.
    """
    sockets = {inode: port for port, _, inode in listening(tables)}
    found: dict[int, str] = {}
    for pid in os.listdir(proc):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        held = {sockets[inode] for inode in inodes(os.path.join(proc, pid)) if inode in sockets} - taken
        argv = command(os.path.join(proc, pid)) if held else []
        for port in held - connection_ports(argv):
            found[port] = shown(program(argv))
    return [{"port": port, "name": found[port]} for port in sorted(found)[:MAX_PORTS]]


def inodes(process: str) -> Iterator[str]:
    """Yield the inodes of a process's sockets; none of somebody else's."""
    try:
        names = os.listdir(process + "/fd")
    except OSError:
        return  # it is another person's, or has ended
    for name in names:
        try:
            link = os.readlink(f"{process}/fd/{name}")
        except OSError:
            continue  # closed since
        if link.startswith("socket:["):
            yield link[8:-1]


def command(process: str) -> list[str]:
    try:
        with open(process + "/cmdline", "rb") as file:
            return [os.fsdecode(word) for word in file.read(1 << 16).split(b"\0")[:-1]]
    except OSError:
        return []


def connection_ports(argv: list[str]) -> set[int]:
    """The ports in the connection file that a kernel's command names."""
    for path in (word for word in argv if word.endswith(".json")):
        try:
            known = json.loads(start_of(path))
            if isinstance(known, dict) and "shell_port" in known:
                return {number for name, number in known.items() if name.endswith("_port") and isinstance(number, int)}
        except (OSError, ValueError, RecursionError):
            continue
    return set()


def start_of(path: str) -> bytes:
    """The beginning of a regular file; any program may be called with any file, of any kind and length."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(MAX_CONNECTION_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def shown(name: str) -> str:
    """A name that can be printed and sent; a process may call itself anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:MAX_NAME_CHARS])


def program(argv: list[str]) -> str:
    """The name of a program by which a person knows it: of a script or module rather than of its interpreter."""
    if any(word.startswith(OURS) for word in argv) or "ipykernel_launcher" in argv:
        return "a kernel"
    name = os.path.basename(argv[0]) if argv else ""
    if not name.startswith("python"):
        return name
    for position, word in enumerate(argv[1:], 1):
        if word == "-m" and position + 1 < len(argv):
            return argv[position + 1]
        if word in ("-c", "-m"):
            break
        if not word.startswith("-"):
            return os.path.basename(word)
    return name
