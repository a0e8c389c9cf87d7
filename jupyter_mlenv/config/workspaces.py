"""The owner of the environments, and the folders that they may see."""

from __future__ import annotations

import os
from typing import Any

from jupyter_core.paths import jupyter_data_dir
from traitlets import Bool, List, TraitError, Unicode, default, validate
from traitlets.config import LoggingConfigurable

from .. import host_defaults, host_person


class WorkspaceTraits(LoggingConfigurable):
    """The owner of the environments, and the folders that they may see."""

    owner = Unicode(
        help="""Whose environments these are: a person sees only environments of the same owner. Default:
        JUPYTERHUB_USER, else the login name.

        Example: `c.MlenvConfig.owner = "alice"`"""
    ).tag(config=True)

    @default("owner")
    def _owner_default(self) -> str:
        return host_person.owner(os.environ)

    allowed_workspaces = List(
        Unicode(),
        help="""Directories that workspaces must be in, symbolic links resolved. Empty: any directory the person
        can use.

        Example: `c.MlenvConfig.allowed_workspaces = ["~/projects", "/data/shared"]`""",
    ).tag(config=True)

    allow_home = Bool(
        False,
        help="""Whether the home directory itself may be a workspace. It holds keys and tokens that every
        container would then see.

        Example: `c.MlenvConfig.allow_home = True`""",
    ).tag(config=True)

    run_root = Unicode(
        help="""Directory for the sockets and tokens of running environments. It is yours and 0700; one that
        belongs to somebody else is refused. Short, since the path of a unix socket holds 107 bytes. Default:
        `mlenv/run` in the Jupyter data directory where that is short enough, else
        `/tmp/jupyter-mlenv-<uid>`.

        Example: `c.MlenvConfig.run_root = "/var/lib/mlenv/alice"`"""
    ).tag(config=True)

    @default("run_root")
    def _run_root_default(self) -> str:
        return host_defaults.run_root(jupyter_data_dir())

    @validate("run_root")
    def _valid_run_root(self, proposal: Any) -> str:
        path: str = os.path.abspath(os.path.expanduser(proposal["value"]))
        if not host_defaults.socket_paths_fit(path):
            longest = host_defaults.SOCKET_PATH_BYTES - len(host_defaults.LONGEST_SOCKET)
            raise TraitError(f"MlenvConfig.run_root: {path!r} is too long for unix sockets; {longest} bytes at most.")
        return path
