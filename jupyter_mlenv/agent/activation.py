"""Variables that a shell in the image has: of its entrypoint, and of `conda activate` for our interpreter.

Both are programs of the image. Each is run once, as the person, with a Python at its end that tells its variables. What
fails or takes long is said in the log, and everything else goes on.

Part of the agent: Python >= 3.8, standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

from .channel import CHUNK_BYTES, Channel
from .files import ENTRYPOINT, conda_prefix
from .logged_process import LoggedProcess
from .loop import join, log, until
from .process import DEVNULL, PIPE, STDOUT, STOP_GRACE_SECONDS

TYPE_CHECKING = False  # as in `typing`, which would cost 4 ms
if TYPE_CHECKING:
    from .loop import Loop
    from .process import Children

SECONDS = 20.0
"""Seconds that an entrypoint may take. Those of large images look at GPUs and print a page first."""

MAX_SCRIPT_BYTES = 1 << 20

TELL = (
    "import os, sys; file = open(int(sys.argv[1]), 'wb');"
    "file.write(b''.join(name + b'=' + value + bytes(1) for name, value in os.environb.items()))"
)

CONDA = """
export CONDA_PREFIX="$1" CONDA_DEFAULT_ENV="$2" CONDA_SHLVL=1 PATH="$1/bin:$PATH"; shift 2
for script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do
  if [ -r "$script" ]; then . "$script"; fi
done
exec "$@"
"""
"""As conda does it: https://docs.conda.io/projects/conda/en/stable/dev-guide/deep-dives/activation.html."""

INITS = ("tini", "tini-static", "dumb-init", "catatonit", "docker-init")
"""Programs that only run another one and reap orphans, which a container of ours has already."""

RUNNERS = ("conda", "mamba", "micromamba")
"""Programs whose verb `run` runs the rest of the words."""

SHELLS = ("sh", "bash", "dash", "ash", "zsh")

OWN = {"HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME", "TERM"}
"""Variables that a program on the way does not change for us."""


async def activate(loop: Loop, children: Children, executable: str) -> None:
    """Run what is there, and make its variables ours, and so those of all that we start."""
    before = os.environ.get("CONDA_PREFIX")
    words = without_init(entrypoint())
    if words and hands_over(words):
        await adopt(loop, children, "entrypoint", words)
    elif words:
        text = "the image's entrypoint is not run, since it is no script that runs another program: {}"
        log(text.format(" ".join(words)))
    prefix = conda_prefix(executable)
    if prefix and (before == prefix or os.environ.get("CONDA_PREFIX") != prefix):
        os.environ.update(conda_variables(prefix))
        shell = shutil.which("bash") or shutil.which("sh") or "/bin/sh"
        await adopt(loop, children, "conda activate", [shell, "-c", CONDA, "activate", prefix, conda_name(prefix)])


async def adopt(loop: Loop, children: Children, name: str, words: list[str]) -> None:
    """Run these words with a Python behind them, and take over what it has for variables."""
    process = LoggedProcess(name)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    told = Channel(loop, reader)
    try:
        argv = [*words, sys.executable, "-E", "-s", "-S", "-c", TELL, str(writer)]
        process.child = children.start(
            process.changed, argv, kill_group=False, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=(writer,)
        )
    except (OSError, ValueError) as error:
        told.close()
        return log(f"[{name}] cannot be run: {error}")
    finally:
        os.close(writer)
    child = process.child
    output = Channel(loop, child.popen.stdout.fileno(), child.popen.stdout)  # type: ignore[union-attr]
    data = bytearray()
    tasks = [loop.spawn(process.read(output)), loop.spawn(collect(told, data))]
    ended = await until(process.changed, child.ended, SECONDS)
    if not ended:
        await child.stop(signal.SIGTERM, STOP_GRACE_SECONDS)
    for channel, task in zip((output, told), tasks):  # noqa: B905  `strict` came with Python 3.10
        channel.drain()  # what it has left running may keep them open
        await join(task)
        channel.close()
    if not ended:
        return log(f"[{name}] did not end in {SECONDS:g} s and was stopped; what it sets is not there")
    if not data:
        return log(f"[{name}] ended with {child.exit_code} and has run nothing; what it sets is not there")
    take_over(bytes(data))


async def collect(channel: Channel, data: bytearray) -> None:
    chunk = memoryview(bytearray(CHUNK_BYTES))
    while True:
        count = await channel.read_into(chunk)
        if not count:
            return
        data += chunk[:count]


def take_over(data: bytes) -> None:
    """Make variables as `/proc/PID/environ` has them ours; what is not among them any more goes."""
    pairs = (word.partition(b"=") for word in data.split(b"\0") if word)
    theirs = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    for name in {*os.environ, *theirs}:
        if name in OWN or name.startswith("MLENV_"):
            continue
        if name in theirs:
            os.environ[name] = theirs[name]
        else:
            del os.environ[name]


def entrypoint() -> list[str]:
    try:
        with open(ENTRYPOINT, encoding="utf-8") as file:
            return [str(word) for word in json.load(file)]
    except (OSError, ValueError, TypeError):
        return []


def without_init(words: list[str]) -> list[str]:
    """The words behind an init and its options."""
    if not words or os.path.basename(words[0]) not in INITS:
        return words
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        option, rest = rest[0], rest[1:]
        if option == "--":
            break
    return without_init(rest)


def hands_over(words: list[str]) -> bool:
    """Return whether these words run the words behind them: a script of a shell with `$@`, or `conda run`."""
    if os.path.basename(words[0]) in RUNNERS and words[1:2] == ["run"]:
        return True
    scripts = [word for word in words[1:] if not word.startswith("-")]
    if os.path.basename(words[0]) in SHELLS and ("-c" in words or not scripts):
        return False
    path = scripts[0] if os.path.basename(words[0]) in SHELLS else shutil.which(words[0])
    try:
        with open(path or "", "rb") as file:
            text = file.read(MAX_SCRIPT_BYTES)
    except OSError:
        return False
    return interpreter(text) in SHELLS and (b"$@" in text or b"${@" in text or b"$*" in text)


def interpreter(script: bytes) -> str:
    """The name of a script's interpreter, also behind `env` (execve(2)); empty where none is named."""
    words = script.split(b"\n")[0][2:].split() if script.startswith(b"#!") else []
    names = [os.path.basename(word).decode("latin-1") for word in words if not word.startswith(b"-")]
    return next((name for name in names if name != "env"), "")


def conda_name(prefix: str) -> str:
    """The environment's name, as conda has it for those in its own folder: only that of conda itself is `base`."""
    return "base" if os.path.isdir(prefix + "/condabin") else os.path.basename(prefix)


def conda_variables(prefix: str) -> dict[str, str]:
    """The variables that packages and `conda env config vars set` have written down, the person's last."""
    folder, found = f"{prefix}/etc/conda/env_vars.d", {}
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for path in [*(f"{folder}/{name}" for name in names), f"{prefix}/conda-meta/state"]:
        try:
            with open(path, encoding="utf-8") as file:
                said = json.load(file)
            said = said.get("env_vars", {}) if path.endswith("/conda-meta/state") else said
            found.update({str(name): str(value) for name, value in said.items() if "=" not in name and name})
        except (OSError, ValueError, AttributeError):
            continue  # it is not there, or holds no variables
    return {name: value for name, value in found.items() if value != "***unset***"}
