"""Names, paths and the port that every container of ours has. Pure."""

from __future__ import annotations

LABEL = "jupyter-mlenv"
"""Prefix of every label we set: `.id .owner .preset .workspace .name .plan .run .version`."""

AGENT_PORT = 8700
"""TCP port of the agent inside a container whose unix sockets the host cannot reach."""

RUN_DIR = "/run/mlenv"
"""The directory of sockets inside every container. The host mounts it, and trusts nothing in it."""

INSIDE = "in"
"""The name, in a run directory on the host, of what is mounted there."""

AGENT_FOLDER = "/opt/jupyter-mlenv"
"""The folder of the agent and its files inside every container."""

AGENT_START = "/opt/jupyter-mlenv/start.py"
"""The program that starts the agent."""

AGENT_PACKAGE = "/opt/jupyter-mlenv/mlenv_agent"
"""The agent's package, which is `jupyter_mlenv.agent` here."""

ZONES = "/usr/share/zoneinfo"
"""The folder of the time zone database, here and in nearly every image, where C libraries look (tzset(3))."""

TOKEN_PATH = "/opt/jupyter-mlenv/token"  # noqa: S105  a path
"""The file with the agent's token. It is put in before each start, in no directory that the host mounts."""


def inside(run_dir: str) -> str:
    """The part of a run directory that is mounted in the environment; all else in it stays on the host."""
    return f"{run_dir}/{INSIDE}"
