"""The services that the proxy benchmarks reach, in a process of their own: as little work as Python allows.

`python -m benchmarks.backend <folder>` listens on `env.<name>.sock` in the folder and on a TCP port for each name,
which it prints in this order:

* `app`: HTTP. By the last part of the path: `small` answers 1 KB, `bytes-<n>` n bytes, `upload` swallows a body.
* `echo`: sends WebSocket messages back; knows no extension.
* `deflate`: the same by aiohttp with its defaults: it compresses with a peer that offers it, as uvicorn and
  `websockets` do. jupyter-server-proxy always offers it; our proxy passes on what the client offers.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
import threading
from base64 import b64encode
from contextlib import suppress
from hashlib import sha1
from pathlib import Path

from aiohttp import web

BLOCK = bytes(1 << 20)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


class Backend(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.swallow = 0
        self.writable = asyncio.Event()
        self.writable.set()
        self.sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sending is not None:
            self.sending.cancel()

    def data_received(self, data: bytes) -> None:
        if self.swallow:
            self.swallow -= len(data)
            if not self.swallow:
                self.transport.write(SMALL)
            return
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            del self.buffer[: end + 4]
            self.request(head)

    def request(self, head: bytes) -> None:
        name = head.split(b" ", 2)[1].partition(b"?")[0].rpartition(b"/")[2]
        if name == b"upload":
            match = re.search(rb"(?i)content-length: *(\d+)", head)
            assert match is not None
            self.swallow = int(match[1]) - len(self.buffer)
            self.buffer.clear()
            if not self.swallow:
                self.transport.write(SMALL)
        elif name.startswith(b"bytes-"):
            self.sending = asyncio.ensure_future(self.send(int(name[6:])))
        else:
            self.transport.write(SMALL)

    async def send(self, size: int) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while size and not self.transport.is_closing():
            block = BLOCK[: min(size, len(BLOCK))]
            self.transport.write(block)
            size -= len(block)
            await self.writable.wait()


def echo(sock: socket.socket) -> None:
    """A WebSocket that sends every message back, in a thread. Masked payloads come back as they are, undecoded."""
    with suppress(OSError, EOFError):
        buffer = bytearray()
        while b"\r\n\r\n" not in buffer:
            buffer += receive(sock)
        match = re.search(rb"(?i)sec-websocket-key: *(\S+)", buffer)
        assert match is not None
        accept = b64encode(sha1(match[1] + GUID).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        del buffer[: buffer.index(b"\r\n\r\n") + 4]
        while True:
            buffer = frames(sock, buffer)
    sock.close()


def frames(sock: socket.socket, buffer: bytearray) -> bytearray:
    """Echo the frames in the buffer, and the one that begins there; returns what is left."""
    at, back = 0, bytearray()
    while True:
        head, length = frame_size(buffer, at)
        if not head or len(buffer) - at < head + length:
            break
        if buffer[at] & 0x0F == 8:
            raise EOFError
        if buffer[at] & 0x0F != 10:
            back += frame(buffer[at], length)
            back += memoryview(buffer)[at + head : at + head + length]
        at += head + length
    if back:
        sock.sendall(back)
    rest = buffer[at:]
    head, length = frame_size(rest, 0)
    if length <= 1 << 16:
        return rest + receive(sock)
    # A large frame is received in place and sent from there.
    whole = bytearray(head + length)
    whole[: len(rest)] = rest
    view, have = memoryview(whole), len(rest)
    while have < len(whole):
        size = sock.recv_into(view[have:])
        if not size:
            raise EOFError
        have += size
    answer = frame(whole[0], length)
    view[head - len(answer) : head] = answer
    sock.sendall(view[head - len(answer) :])
    return bytearray()


def frame_size(buffer: bytearray, at: int) -> tuple[int, int]:
    """Bytes of the head of a masked frame, and of its payload; zeros while the head is not here."""
    if len(buffer) - at < 14 and (len(buffer) - at < 6 or buffer[at + 1] & 0x7F > 125):
        return 0, 0
    length = buffer[at + 1] & 0x7F
    if length == 126:
        return 8, int.from_bytes(buffer[at + 2 : at + 4], "big")
    if length == 127:
        return 14, int.from_bytes(buffer[at + 2 : at + 10], "big")
    return 6, length


def frame(first: int, length: int) -> bytes:
    """The head of an unmasked frame."""
    if length < 126:
        return struct.pack("!BB", first, length)
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def receive(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 16)
    if not data:
        raise EOFError
    return data


def listen(sock: socket.socket) -> None:
    """Echo on every connection."""
    sock.listen()
    while True:
        connection = sock.accept()[0]
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


async def deflating(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse(max_msg_size=0)
    await answer.prepare(request)
    async for message in answer:
        await answer.send_bytes(message.data)
    return answer


async def main() -> None:
    folder = Path(sys.argv[1])
    loop = asyncio.get_running_loop()
    tcp = await loop.create_server(Backend, "127.0.0.1", 0)
    await loop.create_unix_server(Backend, str(folder / "env.app.sock"))

    echoes = [socket.socket(), socket.socket(socket.AF_UNIX)]
    echoes[0].bind(("127.0.0.1", 0))
    echoes[1].bind(str(folder / "env.echo.sock"))
    for sock in echoes:
        threading.Thread(target=listen, args=(sock,), daemon=True).start()

    app = web.Application()
    app.router.add_get("/{path:.*}", deflating)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "env.deflate.sock")).start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = next(address[1] for address in runner.addresses if not isinstance(address, str))
    print(tcp.sockets[0].getsockname()[1], echoes[0].getsockname()[1], port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
