"""What a web service in a container tries with the proxy and the browser behind it (SECURITY H1, H2, M8, M10, L7)."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.parse

from .case import case
from .ground import Ground

PORT = 8000


def raw(ground: Ground, id: str, name: str, *, second: str = "", upgrade: bool = False, patience: float = 5.0) -> bytes:
    """All bytes that come back for a request of a logged-in client, and for a second one on the same connection."""
    where = urllib.parse.urlsplit(ground.lab.url)
    host = f"{where.hostname}:{where.port}"
    own = f"Host: {host}\r\nAuthorization: token {ground.lab.token}\r\nOrigin: http://{host}\r\n"
    own += "Sec-Fetch-Site: same-origin\r\nAccept: */*\r\n"
    path = f"{where.path}mlenv/envs/{id}/{PORT}/{name}"
    more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" if upgrade else ""
    more += "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" if upgrade else ""
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=patience) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n{own}{more}\r\n".encode())
        answer = client.recv(65536)
        try:
            if second:
                client.sendall(f"GET {second} HTTP/1.1\r\n{own}\r\n".encode())
            while len(answer) < 1_000_000 and (more_ := client.recv(65536)):
                answer += more_
        except OSError:
            pass  # it was patient long enough, or the other end closed
    return answer


def heads(answer: bytes) -> list[bytes]:
    """The header lines of all answers in these bytes."""
    return [line for part in answer.split(b"HTTP/1.") for line in part.partition(b"\r\n\r\n")[0].split(b"\r\n")]


FORBIDDEN = (b"service-worker-allowed", b"clear-site-data", b"x-accel-", b"x-sendfile", b"accept-ch", b"set-login")
FORBIDDEN += (b"strict-transport-security", b"www-authenticate", b"set-cookie: _xsrf=forged", b"username-x=forged")


def asked(name: str, upgrade: bool) -> None:
    kind = "a WebSocket" if upgrade else "a page"

    @case(f"H1 H2 M10 {kind} that answers with `{name}`", "nothing that belongs to the origin, no connection of it")
    def attack(ground: Ground) -> str:
        with ground.victim() as (id, folder):
            ground.hostile(id, folder, str(PORT), program="hostileweb.py")
            answer = raw(ground, id, name, second="/api/contents", upgrade=upgrade, patience=2.0)
            lines = heads(answer.lower())
            wrong = [line for line in lines for word in FORBIDDEN if line.startswith(word) or b"forged" in line]
            assert not wrong, f"passed on: {wrong[:3]}"
            assert b"\x00" not in answer[:4000]
            loot = (folder / "loot").read_bytes()
            assert b"/api/contents" not in loot, "a later request went into the container"
            ground.no_secret_left()
        return answer[:40].decode("latin-1").split("\r\n")[0]


for _name in ("upgrade", "reason", "reason101", "origin", "value", "nul", "two"):
    asked(_name, upgrade=False)
for _name in ("reason101", "reason", "plain"):
    asked(_name, upgrade=True)


@case("M8 a page of an environment in a frame of another site", "frame-ancestors is always there")
def framed(ground: Ground) -> str:
    with ground.victim() as (id, folder):
        ground.hostile(id, folder, str(PORT), program="hostileweb.py")
        lines = [line.lower() for line in heads(raw(ground, id, "plain", patience=2.0))]
    policies = [line for line in lines if line.startswith(b"content-security-policy:")]
    assert any(b"frame-ancestors" in policy for policy in policies), f"{policies}"
    return "it is"


@case("L7 endless interim answers, one-byte chunks, slow and endless heads, eight at once", "the server answers")
def exhausting(ground: Ground) -> str:
    with ground.victim() as (id, folder):
        ground.hostile(id, folder, str(PORT), program="hostileweb.py")
        names = ("interim", "chunks", "slowhead", "head") * 2

        def quietly(name: str) -> None:
            with contextlib.suppress(OSError):
                raw(ground, id, name, patience=6.0)

        threads = [threading.Thread(target=quietly, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        ground.health()
        for thread in threads:
            thread.join(30)
    return f"status at worst {ground.watch.slowest():.0f} ms"
