"""Runs inside a container as code that a person was talked into: what it does to the run directory and the agent.

`python3 hostile.py MODE [ARGUMENT]`. All that it receives goes to `loot` in the workspace, where the torture looks for
secrets. It becomes a daemon at once, so that whoever started it is not its parent. Python >= 3.8, stdlib only.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import os
import socket
import struct
import sys
import threading
import time

RUN = "/run/mlenv"
LOOT = os.path.join(os.environ.get("MLENV_WORKSPACE", "."), "loot")
ODD = [
    b"null",
    b"[]",
    b'{"services": 7, "kernels": null, "stats": {}}',
    b'{"key": 1, "pid": "x", "socket": ["a"], "port": {}, "id": null, "note": 3}',
    b"[" * 200_000,
    b'{"pid": ' + b"9" * 100_000 + b"}",
    b'{"services": [{"key": "\\ud800", "state": NaN}]}',
    b'{"lines": [1, null, {}], "error": "text"}',
]


def keep(data: bytes) -> None:
    with open(LOOT, "ab") as file:
        file.write(data + b"\n")


def take_over() -> socket.socket:
    """Our own socket where the agent's was."""
    path = RUN + "/agent.sock"
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def head_of(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            break
        data += more
    keep(data)
    return data


def passing(client: socket.socket, descriptors: list[int], data: bytes = b"") -> None:
    head = data or b"HTTP/1.1 200 Connected\r\nX-Mlenv-Passed: socket\r\n\r\n"
    rights = array.array("i", descriptors).tobytes()
    client.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def stuck() -> tuple[socket.socket, socket.socket]:
    """A connected TCP socket whose other end never reads."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    ours = socket.create_connection(listener.getsockname())
    return ours, listener.accept()[0]


KEPT: list[object] = []


def record(client: socket.socket, number: int) -> None:
    client.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}")


def endless_body(client: socket.socket, number: int) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
    for _ in range(3000):
        client.sendall(b" " * 1_000_000)


def endless_head(client: socket.socket, number: int) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    for n in itertools.count():
        client.sendall(b"X-%d: %s\r\n" % (n, b"x" * 1000))


def slow(client: socket.socket, number: int) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 100000:
        client.sendall(bytes([byte]))
        time.sleep(0.2)


def silent(client: socket.socket, number: int) -> None:
    time.sleep(600)


def odd_json(client: socket.socket, number: int) -> None:
    body = ODD[number % len(ODD)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    client.sendall(head + body)


def fd_per_byte(client: socket.socket, number: int) -> None:
    for byte in b"HTTP/1.1 200 Connected\r\nX-Mlenv-Passed: socket\r\n\r\n":
        passing(client, [0], bytes([byte]))


def many_fds(client: socket.socket, number: int) -> None:
    passing(client, [0] * 250)


def odd_fds(client: socket.socket, number: int) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(b"\0hostile-%d" % number)
    listening.listen(1)
    file = os.open("/proc/version", os.O_RDONLY)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    KEPT.extend([listening, datagrams])
    passing(client, [[listening.fileno(), datagrams.fileno(), file, client.fileno()][number % 4]])


def linger(client: socket.socket, number: int) -> None:
    ours, theirs = stuck()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    KEPT.append(theirs)
    passing(client, [ours.fileno()])


def blocking(client: socket.socket, number: int) -> None:
    ours, theirs = stuck()
    KEPT.append(theirs)
    passing(client, [ours.fileno()])
    for _ in range(2000):
        ours.setblocking(True)
        time.sleep(0.005)


ALWAYS = {each.__name__: each for each in (record, endless_body, endless_head, slow, silent, odd_json)}
FOR_TUNNELS = {each.__name__: each for each in (fd_per_byte, many_fds, odd_fds, linger, blocking)}


def answer(client: socket.socket, mode: str, number: int) -> None:
    head = head_of(client)
    if mode in ALWAYS:
        ALWAYS[mode](client, number)
    elif head.startswith(b"CONNECT"):
        FOR_TUNNELS[mode](client, number)
    else:
        client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"services": []}')
    client.close()


def serve(mode: str) -> None:
    listener = take_over()
    for number in itertools.count():
        client = listener.accept()[0]
        threading.Thread(target=guarded, args=(client, mode, number), daemon=True).start()


def guarded(client: socket.socket, mode: str, number: int) -> None:
    with contextlib.suppress(OSError):
        answer(client, mode, number)


def replace_token(how: str, target: str) -> None:
    path = RUN + "/token"
    if os.path.lexists(path):
        os.unlink(path)
    if how == "link":
        os.symlink(target, path)
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "sparse":
        with open(path, "wb") as file:
            file.truncate(700 << 20)


def links(target: str) -> None:
    """Every socket in the run directory leads to one of the host, for as long as the container lives."""
    while True:
        for name in [*os.listdir(RUN), "agent.sock"]:
            path = os.path.join(RUN, name)
            if name.startswith(("s-", "k-", "agent")) and not os.path.islink(path):
                try:
                    os.symlink(target, path + ".new")
                    os.replace(path + ".new", path)
                except OSError:
                    pass
        time.sleep(0.001)


def swap(path: str, target: str) -> None:
    """A folder is a folder and a link by turns."""
    aside, link = path + ".aside", path + ".link"
    os.symlink(target, link)
    for number in itertools.count():
        try:
            time.sleep((0.2, 0.02, 0.002, 0.0002)[number % 4])  # a start takes from a few of these to many
            os.rename(path, aside)
            os.rename(link, path)
            time.sleep((0.0005, 0.005, 0.0001)[number % 3])
            os.rename(path, link)
            os.rename(aside, path)
        except OSError:
            time.sleep(0.01)


def main() -> None:
    mode, *rest = sys.argv[1:]
    target = rest[0] if rest else ""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    if mode.startswith("token_"):
        replace_token(mode[6:], target)
        serve("record")
    elif mode == "links":
        links(target)
    elif mode == "swap":
        swap(target, rest[1])
    else:
        serve(mode)


if __name__ == "__main__":
    main()
