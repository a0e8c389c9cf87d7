"""The run directory of an environment on the host: 0700, ours, and mounted nowhere.

It holds the agent's token and, for kernels, links to their sockets. One directory in it, `inside`, is what the
environment has at `/run/mlenv`: code in there can put whatever it likes in it, so nothing of it is ever read, and
a socket of it is only connected to by a descriptor that `unix_sockets` has looked at.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ..agent_client import AgentClient, unix_sockets
from ..agent_client.routes import UnixRoute
from ..container_layout import INSIDE, inside
from ..errors import DiskFull, MlenvError
from . import trash

__all__ = [
    "INSIDE",
    "agent",
    "agent_socket",
    "drop_links",
    "inside",
    "link_socket",
    "new_token",
    "of_this_machine",
    "prepare",
    "remove",
    "renew",
    "this_machine",
    "token",
]

LINKED_PREFIX = "k-"
"""The beginning of the names of sockets that are linked."""

TOKEN_BYTES = 32
"""Entropy of an agent token, in bytes."""

MAX_TOKEN_BYTES = 1024
"""The size of a token's file; a longer one is not ours."""


def new_token() -> str:
    """A fresh bearer token for an agent."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def agent_socket(run_dir: str) -> str:
    """The path of the agent's socket, as this machine sees it."""
    return f"{inside(run_dir)}/agent.sock"


def prepare(run_root: str, run_dir: str) -> None:
    """Make the run directory ready for a start: private, and with a token.

    What is there is kept: another process may be using it at this moment. Raises MlenvError if the directory or its
    parent belongs to somebody else or cannot be made, or if `run_dir` is not directly below `run_root`; DiskFull.
    """
    root, path = Path(run_root), Path(run_dir)
    _check_place(root, path)
    there = path.is_dir()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
        for directory in (root, path):
            _check_private(directory)
        mounted = path / INSIDE
        with suppress(FileExistsError):
            mounted.mkdir(mode=0o700)
        _check_private(mounted)
        if _read_token(path) is None:
            _write_token(path)
    except OSError as error:
        if not there:
            remove(run_root, run_dir)
            trash.empty(run_root)
        raise _cannot(path, error) from error


def agent(run_dir: str) -> AgentClient:
    """Return a client of the agent whose socket and token a run directory has. Raises EnvironmentFailed."""
    return AgentClient(UnixRoute(agent_socket(run_dir)), token(run_dir))


def token(run_dir: str) -> str:
    """The agent's token. Raises MlenvError when it is gone, or no file of ours."""
    text = _read_token(Path(run_dir))
    if text is None:
        raise MlenvError(
            f"The token in the run directory {run_dir} cannot be read: it is not there, or not as it was written.",
            hint="Restart the environment; that makes it anew.",
        )
    return text


def this_machine() -> str:
    """A text that tells this machine from others that share a home directory with it."""
    try:
        id = Path("/etc/machine-id").read_text().strip()
    except OSError:
        id = ""
    return f"{os.uname().nodename} {id}"


def of_this_machine(run_dir: str) -> bool:
    """Return whether its environment was started here; of another machine's, nobody here can tell if it runs."""
    return _read(Path(run_dir))[1] == this_machine()


def link_socket(run_dir: str, name: str) -> str:
    """The path, which no environment can write, of a link to the socket of this name in `inside(run_dir)`.

    For programs that connect by a path themselves, such as ZeroMQ. An earlier link of the name is replaced at once.
    Raises OSError as `unix_sockets.find` does.
    """
    if os.path.basename(name) != name or not name.startswith(LINKED_PREFIX):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "This is no socket's name", name)
    descriptor, aside = unix_sockets.find(f"{inside(run_dir)}/{name}"), f".{name}-{secrets.token_hex(4)}"
    try:
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a descriptor of a directory, since `os.link` without one calls link(2), which follows no link.
            os.link(f"/proc/self/fd/{descriptor}", aside, dst_dir_fd=directory, follow_symlinks=True)
            try:
                os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                with suppress(FileNotFoundError):  # it is still there where both are the same socket: rename(2)
                    os.unlink(aside, dir_fd=directory)
        finally:
            os.close(directory)
    finally:
        os.close(descriptor)
    return f"{run_dir}/{name}"


def drop_links(run_dir: str, *, alive: bool = True) -> None:
    """Remove links of `link_socket` whose sockets are gone; all of them if no container of it is `alive`."""
    with suppress(OSError), os.scandir(run_dir) as entries:
        for entry in entries:
            if entry.name.startswith(LINKED_PREFIX) and (not alive or entry.stat(follow_symlinks=False).st_nlink == 1):
                os.unlink(entry.path)


def remove(run_root: str, run_dir: str) -> None:
    """Take a run directory out of the way at once; `trash.empty` deletes it.

    One that is not there is no error. Whatever is not below `run_root` is left alone.
    """
    root, path = Path(run_root), Path(run_dir)
    if path.parent == root and path.name not in ("", ".", "..") and not path.is_symlink():
        with suppress(OSError):
            trash.discard(run_root, run_dir)


def renew(run_root: str, run_dir: str) -> None:
    """Let nothing of what was in it be there at the next start, when no container of it runs; `prepare` follows."""
    drop_links(run_dir, alive=False)
    with suppress(OSError):
        os.rmdir(inside(run_dir))  # as an agent that ended in peace left it
        return
    with suppress(OSError):
        if Path(run_dir).parent == Path(run_root):
            trash.discard(run_root, inside(run_dir))


def _read_token(path: Path) -> str | None:
    text = _read(path)[0]
    return text if text.isascii() and text.isprintable() and text else None


def _read(path: Path) -> tuple[str, str]:
    """The token, and the machine that it was written on; empty if it cannot have been written by `_write_token`.

    Versions before mounted this directory, so it may hold anything: links, pipes, endless files.
    """
    try:
        descriptor = os.open(path / "token", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "", ""
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid() or info.st_size > MAX_TOKEN_BYTES:
            return "", ""
        text, _, machine = os.read(descriptor, MAX_TOKEN_BYTES).decode("latin-1").strip().partition("\n")
    except OSError:
        return "", ""
    finally:
        os.close(descriptor)
    return text, machine


def _write_token(path: Path) -> None:
    """Written aside and linked, so that of two processes one wins and nobody ever reads half a token."""
    aside = path / f".token-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{new_token()}\n{this_machine()}\n")
        try:
            os.link(aside, path / "token")
        except FileExistsError:
            if _read_token(path) is None:
                os.rename(aside, path / "token")
    finally:
        aside.unlink(missing_ok=True)


def _cannot(path: Path, error: OSError) -> MlenvError:
    message = f"The run directory {path} cannot be made: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(message, hint="Free some space there, or choose another place with --MlenvConfig.run_root.")
    return MlenvError(message, hint="Choose another place with --MlenvConfig.run_root.")


def _check_place(root: Path, path: Path) -> None:
    if not root.is_absolute() or path.parent != root or path.name in ("", ".", ".."):
        raise MlenvError(
            f"The environment's run directory {path} is not below {root}.",
            hint="It was made with another --MlenvConfig.run_root: use that one, or remove the environment.",
        )


def _check_private(directory: Path) -> None:
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise MlenvError(
            f"The run directory {directory} is not a directory of yours.",
            hint="Choose another with --MlenvConfig.run_root, or remove it.",
        )
    if info.st_mode & 0o077:
        directory.chmod(0o700)
