"""Every setting as a trait, for server and command line alike: `c.MlenvConfig.allowed_workspaces = ["~/work"]`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from jupyter_core.paths import jupyter_data_dir

from .. import host_defaults, host_person
from ..engines import registry
from ..engines.model import Resources
from ..engines.registry import EngineOptions
from ..errors import RequestInvalid
from ..settings import Settings
from ..sizes import parse_size
from .access import AccessTraits
from .engine import EngineTraits
from .images import ImageTraits
from .limits import LimitTraits
from .person import PersonTraits
from .server import ServerTraits
from .workspaces import WorkspaceTraits

if TYPE_CHECKING:
    from ..engines.base import Engine

Builder: TypeAlias = Literal["auto", "buildkit", "classic"]

# In words of every Python: one that is too old is refused later, and then by its version.
_PREFIXES = "import sys; print('\\n'.join([sys.prefix, getattr(sys, 'base_prefix', sys.prefix), sys.exec_prefix]))"


class MlenvConfig(EngineTraits, WorkspaceTraits, PersonTraits, ImageTraits, AccessTraits, LimitTraits, ServerTraits):
    """ML environments in containers: the engine, who may use what, and how images are built."""

    def settings(self, root_dir: str = "") -> Settings:
        """Return the configuration as plain data for the core. `root_dir`: that of the server, if there is one.

        Raises RequestInvalid if `host_python` does not run.
        """
        return Settings(
            owner=self.owner,
            uid=os.getuid(),
            gid=os.getgid(),
            username=host_person.username(),
            run_root=self.run_root,
            home=host_person.home(),
            groups=host_person.groups(),
            umask=host_person.umask(),
            timezone=host_person.timezone(os.environ),
            git_identity=self.git_identity,
            pass_env=tuple(self.pass_env),
            shared_folders=tuple(self.shared_folders),
            allowed_workspaces=_paths(self.allowed_workspaces),
            allow_home=self.allow_home,
            root_dir=root_dir,
            image_aliases=dict(self.image_aliases),
            preset_paths=_paths(self.preset_paths),
            agreements=os.path.join(jupyter_data_dir(), "mlenv", "agreements.json"),
            network=self.network,
            builder=cast(Builder, self.builder),
            ca_bundle=os.path.expanduser(self.ca_bundle),
            proxies=dict(self.proxies) if self.pass_proxies else {},
            pip_env=self._pip_env(),
            pass_pip_settings=self.pass_pip_settings,
            resources=Resources(
                memory=parse_size(self.default_memory) if self.default_memory else None,
                cpus=self.default_cpus,
                pids=self.default_pids or None,
                shm=parse_size(self.default_shm) if self.default_shm else None,
            ),
            max_memory=parse_size(self.max_memory) if self.max_memory else None,
            max_cpus=self.max_cpus,
            max_pids=self.max_pids,
            max_gpus=self.max_gpus,
            own_gpus=host_defaults.own_gpus(os.environ),
            allowed_images=tuple(self.allowed_images),
            project_presets=self.project_presets,
            start_timeout=self.start_timeout,
            kernel_grace=self.kernel_grace,
            shared_filesystem=self.shared_filesystem,
            host_python=os.path.expanduser(self.host_python),
            host_prefixes=_prefixes(os.path.expanduser(self.host_python)),
            own_prefixes=_prefixes(sys.executable),
        )

    def engine(self) -> Engine:
        """The configured engine; it connects with its first call."""
        return registry.create(
            self.engine_kind,
            EngineOptions(
                url=self.engine_url,
                threads=self.engine_threads,
                shares_filesystem=self.shared_filesystem,
                builder=cast(Builder, self.builder),
                publish_host=self.publish_host,
            ),
        )

    def _pip_env(self) -> dict[str, str]:
        lists = {
            "PIP_EXTRA_INDEX_URL": self.pip_extra_index_urls,
            "PIP_TRUSTED_HOST": self.pip_trusted_hosts,
            "PIP_FIND_LINKS": self.pip_find_links,
        }
        variables = {"PIP_INDEX_URL": self.pip_index_url, **{name: " ".join(words) for name, words in lists.items()}}
        return {name: value for name, value in variables.items() if value}


def _paths(paths: list[str]) -> tuple[str, ...]:
    return tuple(os.path.abspath(os.path.expanduser(path)) for path in paths)


def _prefixes(python: str) -> tuple[str, ...]:
    if python == sys.executable:
        return tuple(dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix)))
    try:
        run = subprocess.run(
            [python, "-E", "-s", "-c", _PREFIXES], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RequestInvalid(
            f"MlenvConfig.host_python: {python} does not run as a Python interpreter: {error}.",
            hint="Set it to the path of a Python interpreter, or leave it out.",
        ) from error
    return tuple(dict.fromkeys(run.stdout.split("\n")[:3]))
