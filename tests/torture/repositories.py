"""What the files of a cloned repository try when somebody looks at it (SECURITY H5, H7, M1, M2)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting import wait_until

from .case import case
from .ground import Ground

TIMEOUT_SECONDS = 20.0
"""Seconds for a look at a project's presets on a busy machine; what hangs takes minutes or never ends."""

HEAD = 'schema = 1\nname = "cloned"\n'


def _toml(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "mlenv.toml").write_text(text)

    return write


def _dockerfile(text: str, ignore: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "mlenv.toml").write_text(HEAD + '[image]\ndockerfile = "Dockerfile"\n')
        (folder / "Dockerfile").write_text(text)
        (folder / ("a" * 200)).touch()
        if ignore:
            (folder / ".dockerignore").write_text(ignore)

    return write


def _requirements(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "mlenv.toml").write_text(HEAD + '[image]\nbase = "b:1"\nrequirements = "requirements.txt"\n')
        make(folder / "requirements.txt")

    return write


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(400 << 20)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _named(make: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: make(folder / "mlenv.toml")


REPOSITORIES: dict[str, Callable[[Path], None]] = {
    "a line of digits in an array with a fault": _toml(HEAD + f"a = [{'1' * 4000} x]\n[image]\nbase = 7\n"),
    "the same in a valid file": _toml(HEAD + f'[image]\nbase = "b:1"\npip = [{"1" * 400}]\n'),
    "40 kB of a dotted key": _toml(HEAD + "a." * 20_000 + "a = 1\n"),
    "20,000 unknown keys": _toml(HEAD + "".join(f"k{n} = 1\n" for n in range(20_000)) + '[image]\nbase = "b:1"\n'),
    "deep arrays": _toml(HEAD + "a = " + "[" * 50_000 + "]" * 50_000 + "\n"),
    "deep tables": _toml(HEAD + "a = " + "{a=" * 20_000 + "1" + "}" * 20_000 + "\n"),
    "a huge number": _toml(HEAD + f"a = {'9' * 100_000}\n"),
    "a long quoted text without its end": _toml(HEAD + 'a = "' + '\\"' * 100_000),
    "many quotes and backslashes": _toml(HEAD + "".join(f"'{n}\\' = '''\\'\n" for n in range(5000))),
    "50 MB of mlenv.toml": _toml(HEAD + "#" + "x" * (50 << 20)),
    "mlenv.toml is a pipe": _named(os.mkfifo),
    "mlenv.toml is a link to /dev/zero": _named(_link("/dev/zero")),
    "COPY of folders above the project": _dockerfile("FROM scratch\nCOPY ../../../../usr /x\nCOPY ../../../../* /y\n"),
    "COPY of everything above by stars": _dockerfile("FROM scratch\nCOPY ../../../../*/*/* /y\n"),
    ".dockerignore of many stars": _dockerfile("FROM scratch\nCOPY . /x\n", ("*a" * 40 + "b\n") * 50),
    "a Dockerfile of a million lines": _dockerfile("FROM scratch\n" + "COPY a /a\n" * 1_000_000),
    "requirements are a pipe": _requirements(os.mkfifo),
    "requirements of 400 MB": _requirements(_sparse),
    "requirements are a link to /proc/kmsg": _requirements(_link("/proc/kmsg")),
}


def cloned(what: str, make: Callable[[Path], None]) -> None:
    @case(f"H5 {what}", "a look at it ends, other presets are there")
    def attack(ground: Ground) -> str:
        folder = ground.folder("cloned")
        make(folder)
        os.chown(folder, ground.lab.uid, ground.lab.uid)
        began = time.monotonic()
        status, text = ground.request("GET", f"mlenv/api/presets?path={folder.name}", timeout=TIMEOUT_SECONDS)
        took = time.monotonic() - began
        assert status == 200, f"{status} {text[:200]!r}"
        names = [preset["name"] for preset in json.loads(text)["presets"]]
        assert "victim" in names, "other presets are hidden"
        body = {"preset": "cloned", "path": folder.name}
        status, text = ground.request("POST", "mlenv/api/environments", body, timeout=TIMEOUT_SECONDS)
        assert 400 <= status < 500, f"start: {status} {text[:200]!r}"
        error = json.loads(text)
        if error["code"] == "consent_required":
            agreed(ground, folder, error["details"]["consent"])
        ground.mlenv("presets", "--workspace", str(folder), timeout=TIMEOUT_SECONDS + 10)
        for path in folder.iterdir():
            if path.name.startswith(("mlenv", "req", "Docker", "aaaa")):
                path.unlink()
        return f"{took:.1f} s, {error['code']}"


def agreed(ground: Ground, folder: Path, consent: dict[str, str], preset: str = "cloned") -> None:
    """A person who says yes without reading still has a server that answers."""
    said = {"folder": consent["folder"], "digest": consent["digest"]}
    assert ground.request("POST", "mlenv/api/consents", said, timeout=TIMEOUT_SECONDS)[0] == 204
    path, body = f"mlenv/api/presets?path={folder.name}", {"preset": preset, "path": folder.name}
    assert ground.request("GET", path, timeout=TIMEOUT_SECONDS)[0] == 200
    status, text = ground.request("POST", "mlenv/api/environments", body, timeout=TIMEOUT_SECONDS)
    assert status == 202 or 400 <= status < 500, f"start after a yes: {status} {text[:200]!r}"
    if status == 202:
        job = json.loads(text)["job"]["id"]
        ground.request("DELETE", f"mlenv/api/jobs/{job}", timeout=TIMEOUT_SECONDS)
        wait_until(
            lambda: json.loads(ground.request("GET", f"mlenv/api/jobs/{job}")[1])["state"] != "running",
            "the start has ended",
            timeout=60,
        )


for _what, _make in REPOSITORIES.items():
    cloned(_what, _make)


@case("H7 a preset of the name of another one, whose variables run code", "nothing of it runs without a yes")
def shadowing(ground: Ground) -> str:
    folder = ground.folder("cloned")
    (folder / "sitecustomize.py").write_text("open('loot', 'a').write('it ran')\n")
    text = 'schema = 1\nname = "victim"\nextends = "host"\n[env]\nPYTHONPATH = "/proc/1/cwd"\n'
    (folder / "mlenv.toml").write_text(text)
    ground.own(folder)
    status, said = ground.request("POST", "api/kernels", {"name": "mlenv-victim", "path": folder.name}, timeout=60)
    ground.mlenv("start", "project", "--workspace", str(folder), check=False)
    assert not (folder / "loot").exists(), "code of the repository ran"
    if status == 201:
        ground.request("DELETE", f"api/kernels/{json.loads(said)['id']}")
    for environment in ground.lab.environments():
        if environment["workspace"] == str(folder):
            ground.request("DELETE", f"mlenv/api/environments/{environment['id']}", timeout=60)
    return f"kernel: {status}"
