"""The person's user and group id inside a container. Pure."""

from __future__ import annotations

import dataclasses

from ..engines.base import EngineFacts
from ..errors import EngineUnsupported
from ..settings import Settings


def inside(settings: Settings, facts: EngineFacts) -> Settings:
    """Return the settings with the user and group id that the person has in containers of this engine.

    A rootless engine runs in a user namespace in which the person who started it is root: files of root in there are
    the person's out here, and those of any other user are nobody's.

    Raises
    ------
    EngineUnsupported
        No user of its containers is the person.
    """
    if facts.user_map:
        raise EngineUnsupported(
            f"The engine at {facts.url} maps the users of containers to others (`userns-remap`), so nobody in an "
            "environment could read or write your files.",
            hint="Use a rootless engine, or take userns-remap out of the engine's daemon.json. Nothing was started.",
        )
    return dataclasses.replace(settings, uid=0, gid=0) if facts.rootless else settings
