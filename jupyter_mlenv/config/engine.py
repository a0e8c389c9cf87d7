"""The engine, and how it is reached."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, Float, Int, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from ..engines import registry


class EngineTraits(LoggingConfigurable):
    """The engine, and how it is reached."""

    engine_kind = Unicode(
        "docker",
        help="""Which kind of engine runs containers. `docker` and `podman` (version 5 or newer) are built in; other
        packages can bring more, with an entry point in the group `jupyter_mlenv.engines`.

        Example: `c.MlenvConfig.engine_kind = "podman"`""",
    ).tag(config=True)

    @validate("engine_kind")
    def _valid_engine_kind(self, proposal: Any) -> str:
        kind: str = proposal["value"]
        if kind not in registry.OURS and kind not in registry.kinds():
            raise TraitError(
                f"MlenvConfig.engine_kind: there is no engine {kind!r} here, only {', '.join(registry.kinds())}. "
                "Others come with a package that has to be installed."
            )
        return kind

    engine_url = Unicode(
        help="""Where the container engine listens: `unix://`, `tcp://` or `ssh://`. Empty: found as the `docker`
        command finds it (DOCKER_HOST, the current context, the default socket), then at the sockets of rootless
        Docker, Docker Desktop, OrbStack, colima, Rancher Desktop and lima. Podman: CONTAINER_HOST, else its own
        socket.

        Example: `c.MlenvConfig.engine_url = "unix:///run/user/1000/docker.sock"`"""
    ).tag(config=True)

    engine_threads = Int(
        8,
        min=1,
        help="""How many calls to the engine run at the same time. Streams (logs, events, pulls) come on top.

        Example: `c.MlenvConfig.engine_threads = 16`""",
    ).tag(config=True)

    shared_filesystem = Bool(
        None,
        allow_none=True,
        help="""Whether a unix socket in a directory of this machine works inside containers too. `None`: found
        out. `False`: the agent is reached through a published port, as it must be with an engine on another
        machine or in a virtual machine.

        Example: `c.MlenvConfig.shared_filesystem = False`""",
    ).tag(config=True)

    publish_host = Unicode(
        help="""The engine host's address that the agent's port is published on where `shared_filesystem` is
        false. Empty: the address at which the engine is reached, 127.0.0.1 for a socket.

        Example: `c.MlenvConfig.publish_host = "10.0.0.5"`""",
    ).tag(config=True)

    network = Unicode(
        help="""The engine's network that environments join unless their preset names one. Empty: the engine's
        default. `none`: no network; every endpoint still works where `shared_filesystem` is true.

        Example: `c.MlenvConfig.network = "none"`"""
    ).tag(config=True)

    start_timeout = Float(
        60.0,
        min=1.0,
        help="""Seconds from the start of a container until its agent must answer.

        Example: `c.MlenvConfig.start_timeout = 120`""",
    ).tag(config=True)
