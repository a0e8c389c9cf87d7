"""A real Jupyter server of a person with secrets, a victim, somebody else's environment, and a watch on it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.support import lab as labs
from tests.support.lab import Lab
from tests.support.leftovers import connect, new_owner, sweep
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
HANG = 2000.0
"""Milliseconds for an answer of `/api/status` that count as a hang; the worst is in the table."""

GROWTH = 600 << 20
"""Bytes by which the server may grow in one case."""

PRESETS = {"victim": 'extends = "host"\ntitle = "Victim"\n', "other": 'extends = "host"\ntitle = "Other"\n'}


class Watch:
    """Asks for `/api/status` all the time, from a thread of its own."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.worst, self._since = lab, 0.0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def mark(self) -> None:
        """From now on."""
        self.worst = 0.0

    def slowest(self) -> float:
        """The longest answer since the mark, also one that is still waited for; milliseconds."""
        waiting = (time.monotonic() - self._since) * 1000 if self._since else 0.0
        return max(self.worst, waiting)

    def end(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self._since = time.monotonic()
            try:
                status, _ = ask(self.lab, "GET", "api/status", timeout=120)
            except OSError:
                status = 0  # the server is being ended, or has ended: others look at that
            took = (time.monotonic() - self._since) * 1000
            self._since = 0.0
            if status == 200:
                self.worst = max(self.worst, took)


def ask(
    lab: Lab,
    method: str,
    path: str,
    body: object = None,
    *,
    timeout: float = 30.0,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of an answer, at most 10 MB of it. Raises OSError, also for one that is no HTTP."""
    where = urllib.parse.urlsplit(lab.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout)
    try:
        given = {"Authorization": f"token {lab.token}", **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, where.path + path, data, given)
        answer = connection.getresponse()
        return answer.status, answer.read(10_000_000)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"{method} {path[:60]}: {error or type(error).__name__}") from error
    finally:
        connection.close()


@dataclass
class Ground:
    """Where the attacks happen."""

    lab: Lab
    presets: Path
    secrets: dict[str, bytes]
    watch: Watch
    socket: Path
    touched: list[bytes] = field(default_factory=list)
    kernel: str = ""
    count: int = 0

    # What attacks use

    def request(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, bytes]:
        return ask(self.lab, method, path, body, **options)

    def folder(self, name: str = "") -> Path:
        """A new project of the person."""
        self.count += 1
        folder = self.lab.root_dir / f"{name or 'victim'}-{self.count}"
        folder.mkdir()
        (folder / "pyproject.toml").write_text("")
        for program in ("hostile.py", "hostileweb.py"):
            shutil.copy(HERE / program, folder / f".{program}")
        self.own(folder)
        return folder

    def own(self, path: Path) -> None:
        """Give what the torture made to the person."""
        labs.owned_by_person(self.lab, path)

    def start(self, preset: str, folder: Path, **wishes: Any) -> str:
        """The id of a running environment. Raises AssertionError with the job's error."""
        path = str(folder.relative_to(self.lab.root_dir))
        status, text = self.request("POST", "mlenv/api/environments", {"preset": preset, "path": path, **wishes})
        assert status == 202, f"start: {status} {text[:300]!r}"
        answer = json.loads(text)
        self.ended(answer["job"]["id"])
        return str(answer["environment"]["id"])

    def ended(self, job: str, timeout: float = 90.0) -> None:
        """Waits for a job. Raises AssertionError if it failed or has no end."""

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(self.request("GET", f"mlenv/api/jobs/{job}")[1])
            return found if found["state"] != "running" else None

        found = wait_until(done, f"job {job} has ended", timeout=timeout)
        assert found is not None
        assert found["state"] == "done", str(found["error"])

    @contextmanager
    def victim(self, preset: str = "victim") -> Iterator[tuple[str, Path]]:
        """A running environment for hostile code, removed at the end, however hostile it was."""
        folder = self.folder()
        id = self.start(preset, folder)
        try:
            yield id, folder
        finally:
            status, text = self.request("DELETE", f"mlenv/api/environments/{id}", timeout=60)
        assert status == 204, f"rm: {status} {text[:300]!r}"

    def hostile(self, id: str, folder: Path, *words: str, program: str = "hostile.py") -> None:
        """Start a hostile program inside; it is a daemon when this returns."""
        self.mlenv("shell", id, "--", "python3", str(folder / f".{program}"), *words)

    def mlenv(self, *words: str, timeout: float = 60.0, check: bool = True) -> str:
        """What `jupyter mlenv …` prints, run by the person. Raises AssertionError, also when it has no end."""
        command = [*labs.as_person(self.lab.uid), sys.executable, "-m", "jupyter_mlenv.cli"]
        cut = words.index("--") if "--" in words else len(words)
        command += [*words[:cut], *self.lab.settings, *words[cut:]]
        try:
            done = subprocess.run(
                command,
                cwd=self.lab.root_dir,
                env=self.lab.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"jupyter mlenv {words[0]} has no end") from error
        text = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"jupyter mlenv {words[0]}: {text[-400:]}"
        assert "Traceback" not in text, text[-1500:]
        return text

    def together(self, *calls: Any) -> None:
        """Runs them at once and waits; what they raise is expected, since what they talk to is hostile."""

        def quietly(call: Any) -> None:
            with suppress(OSError, AssertionError, ValueError):
                call()

        threads = [threading.Thread(target=quietly, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
        assert not any(thread.is_alive() for thread in threads), "a request has no end"

    def poke(self, id: str, patience: float = 4.0) -> None:
        """All that makes the server or the command line talk to an agent, each given up after `patience` seconds."""
        preset = id.rsplit("-", 1)[0]
        path = json.loads(self.request("GET", f"mlenv/api/environments/{id}")[1])["workspace"]
        inside = os.path.relpath(path, self.lab.root_dir)
        proxied = f"mlenv/envs/{id}"
        kernel = {"name": f"mlenv-{preset}", "path": inside}
        self.together(
            lambda: self.request("GET", f"{proxied}/8000/", timeout=patience),
            lambda: self.request("GET", f"{proxied}/8000/x", timeout=patience),
            lambda: self.request("POST", f"{proxied}/8000/", b"x" * 5_000_000, timeout=patience),
            lambda: self.request("GET", f"{proxied}/notebook/api", timeout=patience),
            lambda: self.request("POST", "api/kernels", kernel, timeout=patience),
            lambda: self.mlenv("logs", id, "--service", "notebook", timeout=15, check=False),
        )

    # What has to be true after each of them

    def health(self) -> None:
        """No secret has left, the server answers, and the environment of somebody else works."""
        self.no_secret_left()
        assert not self.touched, f"a socket of the host was connected to: {self.touched[:2]}"
        assert self.request("GET", "api/status", timeout=10)[0] == 200
        self.kernel_answers()

    def no_secret_left(self) -> None:
        """In nothing that a container wrote."""
        for path in self.lab.root_dir.glob("*-*/**/*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 50_000_000:
                continue
            data = path.read_bytes()
            for name, secret in self.secrets.items():
                assert secret not in data, f"{name} is in {path.name}"

    def kernel_answers(self) -> None:
        """The kernel in the other environment; started when there is none."""
        if not self.kernel or self.request("GET", f"api/kernels/{self.kernel}")[0] != 200:
            body = {"name": "mlenv-other", "path": "other"}
            status, text = self.request("POST", "api/kernels", body, timeout=90)
            assert status == 201, f"a kernel of another environment: {status} {text[:300]!r}"
            self.kernel = json.loads(text)["id"]
        assert asyncio.run(_run_cell(self.lab, self.kernel, "6*7")) == "42"

    def memory(self) -> int:
        """Resident memory of the server, in bytes."""
        text = Path(f"/proc/{self.lab.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.lab.process.pid}/fd"))

    def revive(self) -> None:
        """A server that fell is started anew, so that the next case has one."""
        self.lab.end(signal.SIGKILL)
        self.lab.begin()
        self.kernel = ""

    def end_and_begin(self) -> float:
        """Seconds from SIGTERM to the end of the server, which then runs again."""
        began = time.monotonic()
        self.lab.process.send_signal(signal.SIGTERM)
        try:
            self.lab.process.wait(30)
        except subprocess.TimeoutExpired:
            self.revive()
            raise AssertionError("SIGTERM did not end the server in 30 s") from None
        took = time.monotonic() - began
        self.lab.begin()
        return took


async def _run_cell(lab: Lab, kernel: str, code: str) -> str:
    header = {"msg_id": uuid.uuid4().hex, "username": "", "session": uuid.uuid4().hex, "msg_type": "execute_request"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    message = {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
    url = f"{lab.url}api/kernels/{kernel}/channels?token={lab.token}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
        await ws.send_json({**message, "channel": "shell", "buffers": []})
        while True:
            got = json.loads((await asyncio.wait_for(ws.receive(), 30)).data)
            if got["msg_type"] == "execute_result" and got["parent_header"].get("msg_id") == header["msg_id"]:
                return str(got["content"]["data"]["text/plain"])


@contextmanager
def prepared(options: Sequence[str] = ()) -> Iterator[Ground]:
    """All of it, gone again at the end, with whatever the attacks left on the engine."""
    owner = new_owner()
    folder = Path("/tmp") / f"mlenv-{owner}-torture"
    presets = folder / "presets"
    presets.mkdir(parents=True)
    for name, text in PRESETS.items():
        (presets / f"{name}.toml").write_text(f"schema = 1\n{text}")
    client = connect()
    try:
        options = [f"--MlenvConfig.preset_paths={presets}", "--MlenvConfig.kernel_grace=10", *options]
        # Else the server itself drops what comes too fast, of local kernels too.
        unlimited = {"ZMQChannelsWebsocketConnection": {"iopub_msg_rate_limit": 1e9}}
        (folder / "jupyter_server_config.json").write_text(json.dumps(unlimited))
        variables = {"JUPYTER_CONFIG_PATH": str(folder)}
        with labs.running_lab(owner, options=options, environment=variables) as lab:
            yield from _with_secrets(lab, presets)
    finally:
        sweep(client, lambda label: label == owner)
        client.close()
        shutil.rmtree(folder, ignore_errors=True)


def _with_secrets(lab: Lab, presets: Path) -> Iterator[Ground]:
    key = b"canary-" + secrets.token_hex(16).encode()
    ssh = lab.root_dir / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "id_canary").write_bytes(key + b"\n")
    (lab.root_dir / "other").mkdir()
    (lab.root_dir / "other" / "pyproject.toml").write_text("")
    labs.owned_by_person(lab, lab.root_dir)
    ask(lab, "GET", "lab")
    [cookie] = lab.root_dir.glob(".local/share/jupyter/runtime/jupyter_cookie_secret")
    known = {"~/.ssh/id_canary": key, "the server's token": lab.token.encode()}
    known["the cookie secret"] = cookie.read_bytes().strip().splitlines()[0]
    # What the server is told on its command line, for kernels that no server starts.
    values = dict(word[len("--MlenvConfig.") :].split("=", 1) for word in lab.settings)
    traits = {**values, "preset_paths": [str(presets)], "kernel_grace": 10}
    (lab.root_dir / ".jupyter/jupyter_mlenv_config.json").write_text(json.dumps({"MlenvConfig": traits}))
    labs.owned_by_person(lab, lab.root_dir / ".jupyter")
    watch = Watch(lab)
    ground = Ground(lab, presets, known, watch, lab.root_dir / ".canary.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(ground.socket))
    listener.listen(16)
    os.chown(ground.socket, lab.uid, lab.uid)
    threading.Thread(target=_listen, args=(listener, ground.touched), daemon=True).start()
    try:
        for preset in PRESETS:
            lab.mlenv("kernels", "add", preset)
        ground.kernel_answers()
        watch.begin()
        yield ground
    finally:
        watch.end()
        listener.close()
        lab.tidy()


def _listen(listener: socket.socket, touched: list[bytes]) -> None:
    """A socket of the host that no container may reach."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.settimeout(2)
            try:
                touched.append(client.recv(1000) or b"(connected)")
            except OSError:
                touched.append(b"(connected)")
