"""A Python with everything imported that a kernel needs, forked for each kernel: 45 ms instead of 210 ms.

Started by the agent as `<python> zygote.py <fd> [module ...]` by the interpreter as a kernel would be, with its
environment variables. A request on the socket `fd` is 4 bytes of length and a JSON object `{"file", "cwd", "env"}`,
together with the descriptor that becomes the kernel's output; the answer is the kernel's pid in 4 bytes, 0 for none.

Nothing here may start a thread or make a ZMQ context: neither survives a fork. A kernel must find all that a freshly
started interpreter would have; what an import remembers of its process is put right in `become_kernel`. Packages that
are installed later, or modules that are edited, make the zygote start anew before the next kernel.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import random
import select
import site
import socket
import sys
import sysconfig
import threading
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

IMPORTS = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "ipykernel.subshell_manager",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "debugpy.server.api",
    "encodings.idna",
    "faulthandler",
    "psutil",
    "runpy",
    "sqlite3",
    "tornado.locks",
    "tornado.platform.asyncio",
    "tornado.queues",
)
"""Modules that a kernel of ipykernel 7 has imported once it has run a cell. Older and newer ones may lack some."""

LATER = (
    "IPython.core.guarded_eval",
    "IPython.core.magics.execution",
    "jedi.api.completion",
    "pexpect",
    "pygments.formatters.terminal256",
    "pygments.lexers.python",
    "stack_data",
)
"""Modules that the first completion, traceback or shell command imports: 120 ms, spent after the first kernel was
forked."""
IDLE_MILLISECONDS = 1000
"""Milliseconds without a request after which it is spent."""


def import_all(preload: list[str]) -> None:
    """Raises ImportError only without ipykernel."""
    importlib.import_module("ipykernel.kernelapp")
    import_each(IMPORTS, [])
    import_each(preload, preload)


def import_each(names: Iterable[str], preload: list[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  whatever it does, even exit: kernels start without it
            if name in preload:
                print(f"cannot preload {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if threading.active_count() > 1:
            print(f"{name} starts a thread when it is imported, so it is not preloaded", file=sys.stderr, flush=True)
            if name not in preload:
                os._exit(1)  # it will do so every time: the agent executes kernels instead
            start_anew([module for module in preload if module != name])


def start_anew(preload: list[str]) -> None:
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.argv[:2], *preload])  # noqa: S606


def stamp() -> list[object]:
    """Differs once packages have come or gone, or a module outside of them has been edited."""
    ours = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    # A venv's own, and what a .pth file has added: the venv below an overlay.
    on_path = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    installed = tuple(
        f"{path}{os.sep}" for path in {*ours, *site.getsitepackages(), site.getusersitepackages(), *on_path} if path
    )
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    edited = [file for file in files if isinstance(file, str) and not file.startswith(installed)]
    return [changed_at(path) for path in (*sys.path, site.getusersitepackages(), *edited)]


def changed_at(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def receive(control: socket.socket) -> tuple[dict[str, Any], int]:
    """A request and the descriptor of its output. Raises EOFError."""
    head, ancillary, _, _ = control.recvmsg(4, socket.CMSG_SPACE(4))
    if len(head) < 4 or not ancillary:
        raise EOFError
    size, data = int.from_bytes(head, "big"), b""
    while len(data) < size:
        piece = control.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return json.loads(data.decode()), int.from_bytes(ancillary[0][2][:4], sys.byteorder)


def serve(control: socket.socket, preload: list[str]) -> dict[str, Any]:
    """Returns in each kernel, with its request. In the zygote it ends with the agent."""
    begun = stamp()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    wait_milliseconds: int | None = None
    idle: int | None = IDLE_MILLISECONDS
    while True:
        if not poll.poll(wait_milliseconds):
            wait_milliseconds = None
            if stamp() == begun:
                import_each(LATER, [])
                gc.freeze()
                begun = stamp()
            continue
        if stamp() != begun:
            start_anew(preload)  # the request waits in the socket
        try:
            request, output = receive(control)
        except (EOFError, OSError):
            os._exit(0)
        reader, writer = os.pipe()
        if fork(writer):
            control.close()
            os.close(reader)
            os.close(writer)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            return request
        wait_milliseconds, idle = idle, None
        os.close(writer)
        os.close(output)
        pid = os.read(reader, 4)
        os.close(reader)
        control.sendall(pid.rjust(4, b"\0"))


def fork(writer: int) -> bool:
    """Fork; return whether this is the kernel, which has written its pid.

    Forked twice and its parent waited for: it is then a child of the agent, the next process above that takes orphans.
    """
    with warnings.catch_warnings():
        # Python warns of native threads, as numpy's BLAS has them; it stops them before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            parent = os.fork()
            if parent:
                os.waitpid(parent, 0)
                return False
        except OSError as error:
            print(f"cannot fork: {error}", file=sys.stderr, flush=True)
            return False
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(1)
    os.setsid()
    os.write(writer, os.getpid().to_bytes(4, "big"))
    return True


def become_kernel(request: dict[str, Any]) -> None:
    """Make what a fresh interpreter would have, and the zygote has not."""
    gc.enable()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.ORIGINAL_DIR = request["cwd"]  # type: ignore[attr-defined]
        process.current_process().authkey = os.urandom(32)
    importlib.invalidate_caches()
    launcher = importlib.util.find_spec("ipykernel_launcher")
    arguments = ["-f", request["file"]]
    sys.argv = [launcher.origin if launcher and launcher.origin else "ipykernel_launcher", *arguments]
    sys.orig_argv = [sys.executable, "-m", "ipykernel_launcher", *arguments]


def beside(name: str) -> Any:
    """A module beside this file, by its path: what a notebook imports by the name is its own."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec: Any = importlib.util.spec_from_file_location("mlenv_" + name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Returns in each kernel, ready to be launched."""
    if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]
    preload = sys.argv[2:]
    gc.disable()
    import_all(preload)
    beside("iopub").install()
    gc.freeze()  # a collection in a kernel would copy all pages that it touches
    become_kernel(serve(socket.socket(fileno=int(sys.argv[1])), preload))


if __name__ == "__main__":
    main()
    sys.modules["ipykernel.kernelapp"].launch_new_instance()
