"""A kernel's process, its connection file and its sockets."""

from __future__ import annotations

import hashlib
import json
import os

from .files import remove
from .logged_process import LoggedProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .channel import Channel
    from .kernel_request import KernelRequest


class Kernel(LoggedProcess):
    """A kernel. `holders` are the clients that want it to live."""

    def __init__(self, id: str, request: KernelRequest, run_dir: str) -> None:
        super().__init__(f"kernel {id[:8]}")
        self.id, self.request = id, request
        digest = hashlib.sha1(id.encode("utf-8", "replace")).hexdigest()  # noqa: S324  a name, not a secret
        self.file = os.path.join(run_dir, f"k-{digest[:12]}.json")
        self.holders: list[Channel] = []
        self.forked = self.oom = self.forsaken = False
        self.memory_limit: int | None = None

    @property
    def exit_code(self) -> int | None:
        return self.child.exit_code if self.child else 127 if self.exited() else None

    def about(self) -> dict[str, Any]:
        about = {"id": self.id, "pid": self.child.pid if self.child else None, "state": self.state}
        return dict(
            about, forked=self.forked, exit_code=self.exit_code, holders=len(self.holders), note=self.request.note
        )

    def end(self) -> dict[str, Any]:
        return {"exit_code": self.exit_code, "oom": self.oom, "memory_limit": self.memory_limit}

    def write_files(self) -> None:
        self.remove_files()
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(self.request.connection, file)

    def remove_files(self) -> None:
        for path in (self.file, *self.request.addresses):
            if isinstance(path, str):
                remove(path)
