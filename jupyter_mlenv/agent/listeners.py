"""Listeners: the addresses in the environment that take TCP connections, as Linux tells them (proc_net_tcp(5))."""

from __future__ import annotations

import sys

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

LISTEN = "0A"
"""The state of a socket that listens, TCP_LISTEN of linux/tcp_states.h."""

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an address that is read
"""Where one is reached that listens on every address."""


def addresses(port: int, tables: tuple[str, ...] = TABLES) -> list[str]:
    """The addresses at which something that listens on this port is reached from inside."""
    found = []
    for table in tables:
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue  # no IPv6 here
        for line in lines:
            words = line.split()
            address, _, number = words[1].partition(":")
            if words[3] == LISTEN and int(number, 16) == port:
                found.append(reached(address))
    return list(dict.fromkeys(found))


def reached(words: str) -> str:
    """The address in words of 32 bits, each in this machine's own order of bytes."""
    import socket  # noqa: PLC0415  long there; this module itself is needed by few

    data = b"".join(int(words[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(words), 8))
    address = socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    return ANY.get(address, address)
