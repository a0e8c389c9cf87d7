"""The error for a container that ended as soon as it started."""

from __future__ import annotations

import re

from ..container_layout import LABEL
from ..engines.base import ContainerInfo, Engine
from ..errors import ContainerExited
from ..planning import label
from ..settings import Settings
from . import engine_files

COMMAND_NOT_RUN_CODES = (126, 127)
"""Exit codes of an init that cannot run its command; the command is the image's Python, running the agent."""

PYTHON_TOO_OLD = re.compile(r"^mlenv agent: Python (\S+) is too old, (\S+) or newer is needed")
"""The line that `agent/start.py` writes before it exits."""

DENIED = re.compile(r"exec .* failed: Permission denied")
"""The line of an init that found the program and may not run it, or may not look for it."""


async def why(engine: Engine, settings: Settings, info: ContainerInfo) -> ContainerExited:
    """The error for a container that exited before its agent answered."""
    log = [line async for line in engine.logs(info.id, tail=20)]
    python = label.from_label(info.labels.get(f"{LABEL}.plan", "")).python
    reason = f"with exit code {info.exit_code}"
    hint = "The log below says why."
    if info.oom_killed:
        reason, hint = "because it ran out of memory", "Give it more with --memory, or in the preset."
    elif old := next(filter(None, map(PYTHON_TOO_OLD.search, log)), None):
        reason = f"because {python} in its image {info.image} is Python {old[1]}, and {old[2]} or newer is needed"
        hint = "Use an image with a newer Python, or name another that it has in the preset: image.python."
        if python == settings.host_python:
            hint = "Choose another interpreter of this machine with --MlenvConfig.host_python."
    elif info.exit_code in COMMAND_NOT_RUN_CODES and python == settings.host_python:
        reason = f"because {python}, which runs on this machine, does not run there"
        hint = f"{engine_files.ELSEWHERE_HINT} Or choose another interpreter with --MlenvConfig.host_python."
    elif info.exit_code in COMMAND_NOT_RUN_CODES and any(DENIED.search(line) for line in log):
        reason = f"because you may not run {python} of its image {info.image}: it, or a folder on the way, is root's"
        hint = "Open it to everybody in the Dockerfile, `RUN chmod a+rx /root` for one below /root, or have the image "
        hint += "install its Python elsewhere. Environments run as you, not as root."
    elif info.exit_code in COMMAND_NOT_RUN_CODES:
        reason = f"because its image {info.image} has no {python} that runs"
        hint = "Use an image with Python 3.8 or newer, or name the one it has in the preset: image.python."
    return ContainerExited(
        f"The container of {info.labels.get(f'{LABEL}.id', info.name)} stopped as soon as it started, {reason}.",
        hint=hint,
        details={"exit_code": info.exit_code, "oom_killed": info.oom_killed},
        log=log,
    )
