"""The nouns of environments: one container made from a plan, and its state. No I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import timestamps
from ..presets.model import Endpoint
from ..urls import endpoint_url


class State(str, enum.Enum):
    """The state of an environment, as a person is told."""

    PENDING = "pending"  # planned, a job works on it, no container yet
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Environment:
    """One container made from a plan, as read back from the engine.

    `created` and `started` are aware. `exit_code` describes the last exit of one that does not run, and
    `oom_killed` tells a crash for lack of memory. `warnings` say what the engine did not apply (a limit, a GPU).
    `outdated`: the preset has changed since.
    """

    id: str
    preset: str
    title: str
    name: str
    owner: str
    workspace: str
    state: State
    image: str
    endpoints: tuple[Endpoint, ...] = ()
    gpu: bool = False
    icon: str = ""
    container: str = ""  # the engine's own id
    run_dir: str = ""  # on the host; empty where the host cannot reach the container's unix sockets
    python: str = "python3"
    created: datetime | None = None
    started: datetime | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    job: str = ""
    plan_hash: str = ""
    recipe: str = ""  # see `planning.recipe`; empty for one that an older version made
    outdated: bool = False
    warnings: tuple[str, ...] = ()

    def to_json(self, server_base_url: str = "/") -> dict[str, Any]:
        """The environment object of the REST API and of `--json`."""
        return {
            "id": self.id,
            "preset": self.preset,
            "title": self.title,
            "name": self.name,
            "owner": self.owner,
            "workspace": self.workspace,
            "state": self.state.value,
            "image": self.image,
            "gpu": self.gpu,
            "icon": self.icon,
            "created": timestamps.to_json(self.created),
            "started": timestamps.to_json(self.started),
            "exit_code": self.exit_code,
            "oom_killed": self.oom_killed,
            "job": self.job or None,
            "outdated": self.outdated,
            "warnings": list(self.warnings),
            "endpoints": {
                e.name: {
                    "title": e.title,
                    "icon": e.icon,
                    "url": endpoint_url(server_base_url, self.id, e.name),
                    "open": endpoint_url(server_base_url, self.id, e.name) + e.open,
                }
                for e in self.endpoints
            },
        }
