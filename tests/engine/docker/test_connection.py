"""Finding the engine, and what a person is told when there is none or it may not be used."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mlenv.engines.docker import DockerEngine, connection
from jupyter_mlenv.errors import EnginePermission, EngineUnavailable
from tests.support.docker import DOCKER_SOCKET, Relay
from tests.support.waiting import eventually, free_port


async def test_facts_of_the_local_engine() -> None:
    engine = DockerEngine()
    try:
        facts = await engine.facts()
    finally:
        await engine.close()
    assert facts.kind == "docker"
    assert facts.version
    assert facts.url == f"unix://{DOCKER_SOCKET}"
    assert facts.os == "linux"
    assert facts.shares_filesystem
    assert facts.cpus == os.cpu_count()
    assert facts.memory > 1 << 28


async def test_what_is_configured_wins_over_what_is_found() -> None:
    engine = DockerEngine(shares_filesystem=False, builder="classic", publish_host="127.0.0.2")
    try:
        facts = await engine.facts()
    finally:
        await engine.close()
    assert (facts.shares_filesystem, facts.buildkit, facts.publish_host) == (False, False, "127.0.0.2")


async def test_an_engine_over_tcp_shares_no_files() -> None:
    relay = Relay(DOCKER_SOCKET)
    engine = DockerEngine(f"tcp://127.0.0.1:{await relay.listen_tcp()}")
    try:
        assert not (await engine.facts()).shares_filesystem
        assert list(await engine.list({"mlenv-no-such-label": ""})) == []
    finally:
        await engine.close()
        await relay.cut()


async def test_a_docker_context_with_tls_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    tls.load_verify_locations(tmp_path / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    relay = Relay(DOCKER_SOCKET, tls=tls)
    port = await relay.listen_tcp()
    make_context(tmp_path / "config", "far", f"tcp://127.0.0.1:{port}", tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    engine = DockerEngine()
    try:
        assert (await engine.facts()).url == f"tcp://127.0.0.1:{port}"
        stream = engine.events()
        assert (await anext(stream)).kind == "connected"
        await stream.aclose()
    finally:
        await engine.close()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "nothing-here"))
    untrusting = DockerEngine()
    try:
        with pytest.raises(EngineUnavailable) as caught:
            await untrusting.facts()
        assert "DOCKER_HOST" in caught.value.hint
    finally:
        await untrusting.close()
        await relay.cut()


@pytest.mark.parametrize("kind", ["no socket", "nobody listens", "no port"])
async def test_no_engine(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if kind == "nobody listens":
        socket.socket(socket.AF_UNIX).bind(str(path))
    url = f"tcp://127.0.0.1:{free_port()}" if kind == "no port" else f"unix://{path}"
    engine = DockerEngine(url)
    try:
        with pytest.raises(EngineUnavailable) as caught:
            await engine.list({})
    finally:
        await engine.close()
    assert url in caught.value.message
    assert caught.value.hint
    assert caught.value.details["url"] == url


@pytest.fixture
def closed_socket() -> Iterator[str]:
    """A unix socket that somebody listens on and that only root may use."""
    with tempfile.TemporaryDirectory(prefix="mlenv-closed-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as s:
        path = os.path.join(folder, "s")
        s.bind(path)
        s.listen()
        os.chmod(folder, 0o755)
        os.chmod(path, 0)
        yield path


async def test_no_permission_on_the_socket(closed_socket: str) -> None:
    warm = DockerEngine()
    await warm.facts()  # import everything while we still may read it
    await warm.close()
    engine = DockerEngine(f"unix://{closed_socket}")
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(EnginePermission) as caught:
            await engine.facts()
    finally:
        if root:
            os.seteuid(0)
        await engine.close()
    assert "usermod -aG docker" in caught.value.hint


async def test_an_engine_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "GREETING_TIMEOUT_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        engine = DockerEngine(f"unix://{tmp_path / 's'}")
        try:
            with pytest.raises(EngineUnavailable, match="in time"):
                await engine.facts()
        finally:
            await engine.close()


async def test_a_lost_engine_is_found_again(tmp_path: Path) -> None:
    relay = Relay(DOCKER_SOCKET)
    path = tmp_path / "s"
    engine = DockerEngine(await relay.listen_unix(path))
    try:
        await engine.list({"mlenv-no-such-label": ""})
        await relay.cut()
        path.unlink(missing_ok=True)
        with pytest.raises(EngineUnavailable):
            await engine.list({"mlenv-no-such-label": ""})
        await relay.listen_unix(path)
        assert list(await engine.list({"mlenv-no-such-label": ""})) == []
    finally:
        await engine.close()
        await relay.cut()


async def test_close_ends_what_is_under_way(tmp_path: Path) -> None:
    relay = Relay(DOCKER_SOCKET)
    engine = DockerEngine(await relay.listen_unix(tmp_path / "s"))
    stream = engine.events()
    assert (await anext(stream)).kind == "connected"
    waiting = asyncio.create_task(anext(stream, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await engine.close()
    await asyncio.wait([waiting], timeout=120)
    assert waiting.done()
    await eventually(
        lambda: not any("mlenv-docker" in thread.name for thread in threading.enumerate()), "no thread is left"
    )
    await eventually(lambda: relay.open == 0, "no connection is left")
    await relay.cut()


def make_context(config: Path, name: str, url: str, pems: Path) -> None:
    """What `docker context create` and `docker context use` write."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta, tls = config / "contexts" / "meta" / identity, config / "contexts" / "tls" / identity / "docker"
    meta.mkdir(parents=True)
    tls.mkdir(parents=True)
    endpoints = {"docker": {"Host": url, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (tls / file).write_bytes((pems / file).read_bytes())
    (config / "config.json").write_text(json.dumps({"currentContext": name}))


def certificates(folder: Path) -> None:
    """An authority, a server for 127.0.0.1 and a client, as PEM files."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-x509", "-subj", "/CN=test authority", "-keyout", "ca-key.pem", "-out", "ca.pem")
    for name, key, out in (("server", "server-key.pem", "server.pem"), ("client", "key.pem", "cert.pem")):
        openssl(*new[:-2], "-subj", f"/CN={name}", "-keyout", key, "-out", f"{name}.csr")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        signing = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", out)


def sockets() -> int:
    """How many connections to the engine this process has."""
    names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    inodes = {os.readlink(name).partition("[")[2][:-1] for name in names if os.path.islink(name)}
    return sum(line.split()[6] in inodes for line in Path("/proc/net/unix").read_text().splitlines()[1:])


@pytest.mark.parametrize("lost", [False, True], ids=["closed", "lost"])
async def test_no_socket_is_kept_by_an_engine_that_is_not_used_any_more(lost: bool) -> None:
    before = sockets()
    for _ in range(3):
        engine = DockerEngine()
        await asyncio.gather(*(engine.list({"mlenv-no-such-label": ""}) for _ in range(8)))
        if lost:
            engine._session.forget()
        await engine.close()
        del engine

    async def gone() -> bool:
        gc.collect()
        return sockets() <= before

    await eventually(gone, "its sockets are closed")
