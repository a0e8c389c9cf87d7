"""A base image from Debian's packages, for sites that reach no image registry (`jupyter mlenv base`).

debootstrap makes a root file system from the package mirror this machine uses itself, then the engine imports it. An
`image_aliases` entry (`"docker.io/library/python" = "mlenv/base:bookworm"`) lets presets be built on it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..container_layout import LABEL
from ..engines.base import Engine, ImageInfo
from ..engines.model import Progress, Reporter
from ..errors import MlenvError

REFERENCE = "mlenv/base:bookworm"
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
"""Packages that every preset's image needs: an interpreter, its installer, and roots of trust."""

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

TRIMMED = (
    "./dev/*",  # the engine makes its own, and device nodes cannot be imported everywhere
    "./proc/*",
    "./sys/*",
    "./run/*",
    "./tmp/*",
    "./var/cache/apt/*.bin",
    "./var/cache/apt/archives/*.deb",
    "./var/cache/debconf/*-old",
    "./var/lib/apt/lists/*_*",
    "./var/log/*.log",
    "./var/log/apt/*",
    "./usr/share/info/*",
    "./usr/share/locale/*/LC_MESSAGES/*",
    # Files only: later packages (Java's, for one) expect the directory man1 and fail to install without it.
    "./usr/share/man/*/*.gz",
    "./usr/share/man/*/*/*.gz",
)
"""Files left out of the image, as patterns for tar: caches, logs, translations, manual pages."""


async def make(
    engine: Engine,
    reporter: Reporter,
    *,
    reference: str = REFERENCE,
    suite: str = SUITE,
    mirror: str = "",
    include: Sequence[str] = (),
    rebuild: bool = False,
) -> ImageInfo:
    """Make the image `reference` of the Debian release `suite`, with `PACKAGES` and `include` in it.

    An image of that name is returned as it is, unless this function made it from another recipe or `rebuild` is set.
    `mirror` is where packages come from, now and in later builds; empty: the mirror this machine uses, else Debian's.
    Takes a minute, 1 GB under `$TMPDIR` while it runs, and root. Cancelling removes both.

    Raises
    ------
    MlenvError
        debootstrap is missing, it or tar failed (`log` has its last 20 lines), or we are not root.
    EngineError
        As `Engine.import_image`.
    """
    recipe = " ".join((suite, *sorted({*PACKAGES, *include})))
    existing = await engine.image(reference)
    if existing is not None and not rebuild and existing.labels.get(f"{LABEL}.base", recipe) == recipe:
        return existing
    check_host(os.geteuid(), missing_programs())
    loop = asyncio.get_running_loop()
    # One thread, so that after a cancel the removal waits for the work it would otherwise race with.
    pool = ThreadPoolExecutor(1, thread_name_prefix="mlenv-base")
    targets = await loop.run_in_executor(pool, _apt_targets)
    sources = apt_sources(suite, mirror, targets)
    folder = Path(tempfile.mkdtemp(prefix="mlenv-base-"))
    try:
        root, tar = folder / "root", folder / "root.tar"
        reporter.progress(Progress("build", f"Debian {suite}: packages"))
        await _run(_debootstrap(suite, sources[0].split()[1], include, root), reporter, _environment(targets))
        reporter.progress(Progress("build", "Packing the file system"))
        await loop.run_in_executor(pool, _finish, root, sources)
        excluded = [f"--exclude={pattern}" for pattern in TRIMMED]
        await _run(["tar", "-C", str(root), "--numeric-owner", *excluded, "-cf", str(tar), "."], reporter)
        reporter.progress(Progress("build", f"Importing {reference}"))
        return await engine.import_image(reference, tar, {f"{LABEL}.base": recipe})
    finally:
        await loop.run_in_executor(pool, shutil.rmtree, folder)
        pool.shutdown(wait=False)


def check_host(uid: int, missing: Sequence[str]) -> None:
    """Raises MlenvError unless this machine can run debootstrap, saying what to do about it."""
    if missing:
        raise MlenvError(
            f"A base image is made with {' and '.join(missing)}, not installed here.",
            hint="On Debian or Ubuntu: sudo apt-get install debootstrap debian-archive-keyring",
            details={"missing": list(missing)},
        )
    if uid != 0:
        raise MlenvError(
            "Making a base image needs root: debootstrap unpacks a whole system with its owners and device nodes.",
            hint='Run it once as root: sudo "$(command -v jupyter)" mlenv base. '
            "The image is then there for everybody who uses this engine.",
        )


def missing_programs() -> list[str]:
    """Return the names of missing programs: debootstrap, and the keys that its downloads are verified with."""
    missing = [] if shutil.which("debootstrap", path=_search_path()) else ["debootstrap"]
    return missing if KEYRING.exists() else [*missing, "debian-archive-keyring"]


def apt_sources(suite: str, mirror: str, targets: str) -> list[str]:
    """The lines of sources.list inside the image; the first names the mirror that debootstrap uses.

    `targets` has a line `URI CODENAME COMPONENT` for each package index this machine knows: its own mirrors of the
    same release are kept, so that what is reached here is reached in builds too. An explicit `mirror` stands alone.
    """
    if mirror:
        return [f"deb {mirror.rstrip('/')} {suite} main"]
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    known: dict[str, str] = {}
    for line in targets.splitlines():
        uri, codename, component = (*line.split(), "", "", "")[:3]
        if codename in wanted and component == "main":
            known.setdefault(codename, uri.rstrip("/"))
    if suite not in known:
        known = {wanted[0]: MIRROR, wanted[1]: MIRROR, wanted[2]: SECURITY}
    return [f"deb {known[codename]} {codename} main" for codename in wanted if codename in known]


def _apt_targets() -> str:
    """Return the sources that apt on this machine reads; empty where there is no apt."""
    if shutil.which("apt-get") is None:
        return ""
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _search_path() -> str:
    """The path, and root's own directories, which `sudo` and login shells may leave out."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def _environment(targets: str) -> Mapping[str, str]:
    """debootstrap's environment: apt's proxy where apt has one and the environment has none, and a plain locale."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": _search_path()}
    if targets and not {"http_proxy", "HTTP_PROXY"} & environment.keys():
        command = ["apt-config", "shell", "proxy", "Acquire::http::Proxy"]
        found = re.search(r"proxy='(.+)'", subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        if found:
            environment["http_proxy"] = found[1]
    return environment


def _debootstrap(suite: str, mirror: str, include: Sequence[str], root: Path) -> list[str]:
    packages = ",".join((*PACKAGES, *include))
    command = ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", f"--include={packages}"]
    # A mount namespace of its own, where we may make one: no mount of debootstrap's can outlive it, however it ends,
    # so that removing the folder never reaches the machine's /proc or /dev.
    apart = ["unshare", "--mount", "--propagation", "private"]
    if shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0:
        command = [*apart, *command]
    return [*command, suite, str(root), mirror]


def _finish(root: Path, sources: Sequence[str]) -> None:
    """Give the image its package sources; drop documentation except the licences, which must stay with the software."""
    (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in sources))
    for path in (root / "usr/share/doc").rglob("*"):
        if path.name != "copyright" and (path.is_file() or path.is_symlink()):
            path.unlink()
    # The machine's own name and resolver: debootstrap copies them, the engine gives each container its own.
    for name in ("hostname", "resolv.conf"):
        (root / "etc" / name).write_text("")


async def _run(command: Sequence[str], reporter: Reporter, environment: Mapping[str, str] | None = None) -> None:
    """Run to the end, each output line to the log and as the progress's message. Raises MlenvError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    tail: deque[str] = deque(maxlen=20)
    try:
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            tail.append(line)
            reporter.log(line)
            reporter.progress(Progress("build", line.removeprefix("I: ")))
        code = await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.stdout.read()  # ends when the last process that could still write into the folder has
        await process.wait()
        raise
    if code != 0:
        name = next(word for word in command if word in ("debootstrap", "tar"))
        raise MlenvError(
            f"Making the base image failed: {name} ended with exit code {code}.",
            hint=_hint("\n".join(tail)),
            details={"command": list(command), "exit_code": code},
            log=tail,
        )


def _hint(output: str) -> str:
    if "noexec" in output or "nodev" in output:
        return f"{tempfile.gettempdir()} forbids programs or devices; set TMPDIR to a directory on an ordinary disk."
    if "No space left" in output:
        return f"About 1 GB is needed in {tempfile.gettempdir()}; free some, or set TMPDIR to a larger disk."
    if "mknod" in output:
        return "This root may not make device nodes (a container without that right). Run it on the machine itself."
    return "Is the package mirror reachable? Name another with --mirror http://HOST/debian."
