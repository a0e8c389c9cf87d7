"""Preset -> where its image comes from: a name, or a build with the files that the preset names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import assert_never

from .. import treewalk
from ..engines.base import EngineFacts
from ..engines.model import BuildRecipe
from ..errors import PresetInvalid
from ..presets import project_files
from ..presets.model import BuiltImage, DockerfileImage, HostImage, Preset, PulledImage
from ..settings import Settings
from . import allowed_images, dockerfile, host_python, user_dockerfile, variables
from .image_names import apply_alias
from .model import ImagePlan


def make(
    preset: Preset,
    workspace: str,
    facts: EngineFacts,
    settings: Settings,
    *,
    earlier: Sequence[Mapping[str, str]] = (),
    pause: Callable[[], None] = lambda: None,
) -> ImagePlan:
    """Return where the image of a preset comes from; for the parameters see `inputs.read`, whose part this is.

    `earlier`: the labels of images we built before. Raises PresetInvalid, LimitExceeded.
    """
    files = _Files(preset, workspace, pause)
    match preset.image:
        case HostImage():
            return ImagePlan("host", host_python.reference())
        case PulledImage(add_jupyter=False) as source:
            return ImagePlan("pull", _allowed(source.reference, preset, settings))
        case PulledImage() | BuiltImage() as source:
            buildkit = facts.buildkit and settings.builder != "classic"
            recipe = _generated(source, files, settings, earlier, buildkit=buildkit)
        case DockerfileImage() as source:
            recipe = _own_dockerfile(source, files, settings)
        case _:
            assert_never(preset.image)
    return ImagePlan("build", recipe.tag, recipe)


def _allowed(name: str, preset: Preset, settings: Settings) -> str:
    """The image that is used instead of this one. Raises LimitExceeded."""
    used = apply_alias(name, settings.image_aliases)
    allowed_images.check([used], settings.allowed_images, f'The preset "{preset.name}"')
    return used


def _generated(
    source: PulledImage | BuiltImage,
    files: _Files,
    settings: Settings,
    earlier: Sequence[Mapping[str, str]],
    *,
    buildkit: bool,
) -> BuildRecipe:
    preset = files.preset
    built = source if isinstance(source, BuiltImage) else BuiltImage(source.reference, python=source.python)
    base = _allowed(built.base, preset, settings)
    text = files.text(built.requirements) if built.requirements else ""
    listed, rest = dockerfile.fold_requirements(text)
    request = dockerfile.ImageRequest(
        base=base,
        python=built.python,
        add_jupyter=built.add_jupyter,
        apt=built.apt,
        pip=tuple(dict.fromkeys((*built.pip, *listed))),
        pip_index=built.pip_index,
        requirements=rest,
    )
    return dockerfile.recipe(request, preset.name, earlier=earlier, buildkit=buildkit)


def _own_dockerfile(source: DockerfileImage, files: _Files, settings: Settings) -> BuildRecipe:
    preset = files.preset
    text = files.text(source.dockerfile)
    if settings.allowed_images:
        used = allowed_images.used(text, source.args)
        allowed_images.check(used, settings.allowed_images, f'The Dockerfile of the preset "{preset.name}"')
    path = os.path.join(preset.directory, source.dockerfile)
    context = os.path.join(preset.directory, source.context or os.path.dirname(path))
    return user_dockerfile.recipe(
        preset.name,
        text,
        context,
        path=path,
        root=files.root(context),
        target=source.target,
        args=source.args,
        proxies=variables.proxies(settings),
        pause=files.pause,
    )


@dataclass(frozen=True)
class _Files:
    """Files that a preset names, nothing of a workspace through a link that leads out of it."""

    preset: Preset
    workspace: str
    pause: Callable[[], None]

    def text(self, path: str) -> str:
        """A file that the preset names. Raises PresetInvalid."""
        project, full = self.preset.project, os.path.join(self.preset.directory, path)
        try:
            if project and project_files.holds(project, full):
                return project_files.text(project, full)  # what was agreed to, whatever the file says by now
            return treewalk.read_text(self.root(full), full)
        except OSError as error:
            raise self._unreadable(path, str(error.strerror)) from error
        except UnicodeDecodeError as error:
            raise self._unreadable(path, "it is no UTF-8 text") from error

    def root(self, path: str) -> str:
        """The folder that no link in this path may leave."""
        return treewalk.root_of(path, self.workspace)

    def _unreadable(self, path: str, why: str) -> PresetInvalid:
        return PresetInvalid(
            f'The preset "{self.preset.name}" names {path}, which cannot be read: {why}.',
            hint=f"Make the file, or change {self.preset.source}.",
            details={"file": self.preset.source, "field": "image"},
        )
