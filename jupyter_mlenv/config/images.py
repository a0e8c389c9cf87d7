"""Presets and the images that they may use."""

from __future__ import annotations

import sys

from jupyter_core.paths import jupyter_path
from traitlets import Bool, Dict, Enum, List, Unicode, default
from traitlets.config import LoggingConfigurable


class ImageTraits(LoggingConfigurable):
    """Presets and the images that they may use."""

    preset_paths = List(
        Unicode(),
        help="""Directories with preset files, first wins; the built-in catalog comes after them. What of them lies in a
        project is not used there, since code in a container could have written it. Default: `mlenv/presets` in
        each Jupyter data path (`jupyter --paths`), in that order.

        Example: `c.MlenvConfig.preset_paths = ["/srv/jupyter/presets"]`""",
    ).tag(config=True)

    @default("preset_paths")
    def _preset_paths_default(self) -> list[str]:
        return list(jupyter_path("mlenv", "presets"))

    project_presets = Bool(
        True,
        help="""Whether a project's own `mlenv.toml` is offered, after a question. `False`: only built-in presets and
        those of `preset_paths`.

        Example: `c.MlenvConfig.project_presets = False`""",
    ).tag(config=True)

    image_aliases = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""What to use instead of an image: for mirrors, and for machines that reach no registry. An alias is an
        image name with or without its tag, or a registry or namespace (`docker.io`, `quay.io/jupyter`) of which
        the rest of the name is kept; the longest that matches counts.

        Example: `c.MlenvConfig.image_aliases = {"docker.io": "mirror.example.com/hub"}`""",
    ).tag(config=True)

    allowed_images = List(
        Unicode(),
        help="""Patterns of the images that environments may be made from, with `*` and `?`: of a preset's image after
        `image_aliases`, and of all that an own Dockerfile names in `FROM`, `--from` and `# syntax`. A pattern is
        compared with and without tag and, on Docker Hub, registry. The preset `host`, which is this machine itself,
        is always allowed. Empty: every image.

        Example: `c.MlenvConfig.allowed_images = ["python:3.*", "registry.example.com/ml/*"]`""",
    ).tag(config=True)

    builder = Enum(
        ["auto", "buildkit", "classic"],
        "auto",
        help="""What builds images. `auto`: BuildKit where the engine has it, else the classic builder.

        Example: `c.MlenvConfig.builder = "classic"`""",
    ).tag(config=True)

    host_python = Unicode(
        help="""The interpreter that the preset `host` ("This machine's Python") runs. Default: the one that runs
        this.

        Example: `c.MlenvConfig.host_python = "/opt/venvs/science/bin/python"`"""
    ).tag(config=True)

    @default("host_python")
    def _host_python_default(self) -> str:
        return sys.executable
