"""What build steps can reach of a test: a gate that they wait at, and a private package index behind a proxy."""

from __future__ import annotations

import asyncio
import base64
import io
import ipaddress
import ssl
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.leftovers import connect
from tests.support.waiting import eventually


def gateway() -> str:
    """The address at which containers and build steps on the default bridge reach this machine."""
    with closing(connect()) as client:
        configured = client.inspect_network("bridge")["IPAM"]["Config"][0]
    return str(configured.get("Gateway") or next(ipaddress.ip_network(configured["Subnet"]).hosts()))


class Gate:
    """A build step waits here until the test opens; a step that is killed lets go, which the test sees."""

    def __init__(self) -> None:
        self.command = ""
        self.arrived = 0
        self.waiting = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let through who waits, and who comes."""
        self._open.set()

    async def reached(self) -> None:
        """A step has come."""
        await eventually(lambda: self.arrived, "a build step waits at the gate", timeout=60)

    async def left(self) -> None:
        """No step waits any more: its process is gone."""
        await eventually(lambda: not self.waiting, "no process of the build is left")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived += 1
        self.waiting += 1
        opened, gone = asyncio.create_task(self._open.wait()), asyncio.create_task(reader.read())
        try:
            await asyncio.wait([opened, gone], return_when=asyncio.FIRST_COMPLETED)
            if opened.done():
                writer.write(b"go")
        finally:
            self.waiting -= 1
            opened.cancel()
            gone.cancel()
            writer.close()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """A gate; `gate.command` is the Dockerfile instruction that waits at it."""
    made = Gate()
    server = await asyncio.start_server(made.serve, gateway(), 0)
    address = server.sockets[0].getsockname()
    code = f"import socket; assert socket.create_connection({address}).recv(2) == b'go'"
    made.command = f'RUN python3 -c "{code}"'
    try:
        yield made
    finally:
        made.open()
        server.close()


@dataclass
class PrivateIndex:
    """A package index that wants a login, whose certificate no public authority signed, behind a proxy with another."""

    package: str
    index_password: str
    proxy_password: str
    ca_pem: Path
    proxy_url: str = ""
    served: list[str] = field(default_factory=list)

    @property
    def index_url(self) -> str:
        return f"https://reader:{self.index_password}@index.test/simple"

    async def index(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One answer per connection; what it serves it writes down."""
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            wheel = f"{self.package}-1.0-py3-none-any.whl"
            page = f'<!DOCTYPE html><a href="/{wheel}">{wheel}</a>'.encode()
            pages = {f"/simple/{self.package}/": page, f"/{wheel}": self.wheel()}
            status, body = (200, pages[path]) if path in pages else (404, b"")
            if _basic("reader", self.index_password) not in head:
                status, body = 401, b""
            if status == 200:
                self.served.append(path)
            kind = "text/html" if path.endswith("/") else "application/octet-stream"
            writer.write(
                f'HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nWWW-Authenticate: Basic realm="x"\r\n'
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()

    def wheel(self) -> bytes:
        """A package with one module of its name."""
        buffer = io.BytesIO()
        info = f"{self.package}-1.0.dist-info"
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{self.package}.py", "word = 'from the private index'\n")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {self.package}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"{self.package}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
        return buffer.getvalue()


@asynccontextmanager
async def private_index(package: str, passwords: tuple[str, str], folder: Path) -> AsyncIterator[PrivateIndex]:
    """The index, reachable through the proxy alone: its name exists nowhere."""
    authority, certificate, key = await asyncio.to_thread(_certificate, folder)
    index = PrivateIndex(package, *passwords, ca_pem=authority)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    behind = await asyncio.start_server(index.index, "127.0.0.1", 0, ssl=tls)
    port = behind.sockets[0].getsockname()[1]

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if not head.startswith("CONNECT index.test:443 ") or _basic("gate", index.proxy_password) not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there, back = await asyncio.open_connection("127.0.0.1", port)
            with closing(back):
                await asyncio.wait(
                    [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )

    front = await asyncio.start_server(connect, gateway(), 0)
    host, port_of_proxy = front.sockets[0].getsockname()
    index.proxy_url = f"http://gate:{index.proxy_password}@{host}:{port_of_proxy}"
    try:
        yield index
    finally:
        front.close()
        behind.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """PEM files of an authority, of a certificate for `index.test` that it signed, and of that one's key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-x509", "-subj", "/CN=test authority", "-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl(*new[:-2], "-subj", "/CN=index.test", "-keyout", "key.pem", "-out", "index.csr")
    (folder / "names").write_text("subjectAltName=DNS:index.test\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "index.csr", *signing, "-out", "index.pem")
    return folder / "ca.pem", folder / "index.pem", folder / "key.pem"
