"""The question before the preset of a project is used: what it would run and see, in plain words.

A project's `mlenv.toml` may have come with a cloned repository. Nothing of it is used, not even to look whether its
image is there, before the person has agreed to its content; another content is asked about again.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from typing_extensions import assert_never

from .. import presets
from ..engines.gpus import EVERY, NONE
from ..errors import ConsentRequired, PresetInvalid, PresetNotFound
from ..plaintext import one_line
from ..presets.model import BuiltImage, Consent, DockerfileImage, Endpoint, HostImage, Preset, PulledImage
from ..settings import Settings
from . import agreements
from .dockerfile import fold_requirements
from .dockerfile_steps import directives, steps

MAX_SENTENCES = 40
MAX_SENTENCE_CHARS = 300
"""Characters of a sentence; the file itself says the rest."""

MAX_STEPS = 2000
"""Instructions of a Dockerfile that are looked at."""

MAX_COMMAND_CHARS = 160
"""Characters of a command that is shown whole."""

_PLAIN = ("FROM", "RUN", "COPY", "ADD", "ARG", "LABEL", "MAINTAINER", "WORKDIR", "EXPOSE", "STOPSIGNAL")
"""Instructions that are told of in other words, or change nothing that runs."""

MAX_LISTED = 12
"""Commands, packages or variables that are named; of more the number is told."""


def asked(preset: Preset, settings: Settings) -> Preset:
    """The preset with the question that has to be answered first, if there is one. Reads the agreements."""
    project = preset.project
    if project is None or agreements.agreed(settings.agreements, project.folder, project.digest):
        return preset
    return replace(preset, consent=Consent(preset.source, project.folder, project.digest, says(preset, settings)))


def require(preset: Preset) -> None:
    """Raises ConsentRequired for a preset that nobody has agreed to."""
    if preset.consent is None:
        return
    folder = preset.consent.folder
    raise ConsentRequired(
        f'The preset "{preset.name}" comes with the project {folder} ({os.path.basename(preset.source)}), and you have '
        "not agreed to what it would run, or its files have changed since.",
        hint="See what that is, and agree: click its tile in the launcher, or run "
        f"`jupyter mlenv agree {shlex.quote(folder)}`.",
        details={"consent": preset.consent.to_json(), "preset": preset.name},
    )


def agree(
    found: Sequence[Preset], broken: Sequence[PresetInvalid], settings: Settings, folder: str, digest: str
) -> None:
    """Remember that the person agrees to this content of a project's preset; `found` and `broken` are its presets.

    Raises
    ------
    ConsentRequired
        The content is another by now; the error has the new one.
    PresetNotFound, PresetInvalid
        The folder has no preset of its own, or one that is not valid.
    MlenvError
        It cannot be remembered.
    """
    preset = of_project(found, broken, folder)
    assert preset.project is not None
    if preset.project.digest != digest:
        require(preset)
    agreements.add(settings.agreements, preset.project.folder, preset.project.digest)


def of_project(found: Sequence[Preset], broken: Sequence[PresetInvalid], folder: str) -> Preset:
    """The preset that comes with the project. Raises PresetNotFound, PresetInvalid."""
    for preset in found:
        if preset.project is not None:
            return preset
    for error in broken:
        if error.details.get("file") == os.path.join(folder, presets.WORKSPACE_FILE):
            raise error
    raise PresetNotFound(
        f"{folder} has no {presets.WORKSPACE_FILE}, so there is nothing to agree to.",
        hint="`jupyter mlenv presets` shows what can be started there.",
        details={"folder": folder},
    )


def says(preset: Preset, settings: Settings) -> tuple[str, ...]:
    """Yield what using it means, a sentence each, without control characters and bounded."""
    sentences = list(_sentences(preset, settings))
    if len(sentences) > MAX_SENTENCES:
        left = len(sentences) - MAX_SENTENCES + 1
        sentences[MAX_SENTENCES - 1 :] = [f"And {left} things more, which {preset.source} says."]
    return tuple(_cut(one_line(sentence), MAX_SENTENCE_CHARS) for sentence in sentences)


def _sentences(preset: Preset, settings: Settings) -> Iterator[str]:
    assert preset.project is not None
    yield from _image(preset)
    yield f"It sees and changes the files in {preset.project.folder}."
    if preset.env:
        yield f"It sets the variables {_few(f'{name}={value}' for name, value in preset.env.items())}."
    kernel = preset.kernel
    if kernel.argv:
        yield f"Its kernels run: {_command(shlex.join(kernel.argv))}"
    if kernel.spec:
        yield f"Its kernels are what the image's kernelspec {kernel.spec} runs."
    if kernel.preload:
        yield f"Its kernels import at once: {_few(kernel.preload)}."
    if settings.network != "none":
        yield "It reaches the network."
    if used := list(_resources(preset)):
        yield f"It may use {', '.join(used)}."
    known = {(e.name, e.command, tuple(e.env.items())) for one in presets.catalog() for e in one.endpoints}
    for endpoint in preset.endpoints:
        if (endpoint.name, endpoint.command, tuple(endpoint.env.items())) not in known:
            yield from _service(endpoint)


def _image(preset: Preset) -> Iterator[str]:
    image = preset.image
    match image:
        case HostImage():
            yield "It runs this machine's own Python, in a container; no image is built."
        case PulledImage(add_jupyter=False):
            yield f"It downloads and runs the image {image.reference}."
        case PulledImage():
            yield f"It builds an image upon {image.reference}."
        case BuiltImage():
            yield from _built(preset, image)
        case DockerfileImage():
            yield from _dockerfile(preset, image)
        case _:
            assert_never(image)
    if image.python != "python3":
        yield f"The interpreter that it runs is {image.python}."


def _built(preset: Preset, image: BuiltImage) -> Iterator[str]:
    yield f"It builds an image upon {image.base}."
    if image.apt:
        yield f"Debian packages that it installs: {_few(image.apt)}."
    if image.pip:
        yield f"Python packages that it installs: {_few(image.pip)}."
    if image.requirements:
        path = os.path.join(preset.directory, image.requirements)
        listed, rest = fold_requirements(preset.project.texts.get(path, "") if preset.project else "")
        lines = listed or [line for line in rest.splitlines() if line.strip()]
        yield f"It installs what {_short_path(preset, path)} lists: {_few(lines)}."
    if image.pip_index:
        yield f"Python packages may also come from {image.pip_index}."


def _dockerfile(preset: Preset, image: DockerfileImage) -> Iterator[str]:
    path = os.path.join(preset.directory, image.dockerfile)
    text = preset.project.texts.get(path) if preset.project else None
    if text is None:
        yield f"It builds an image from {_short_path(preset, path)}, which cannot be read now."
        return
    listed = list(itertools.islice(steps(text), MAX_STEPS))
    bases = [rest.partition(" AS ")[0] for word, rest in listed if word == "FROM"]
    runs = [rest for word, rest in listed if word == "RUN"]
    copies = [rest for word, rest in listed if word in ("COPY", "ADD")]
    others = [f"{word} {rest}" for word, rest in listed if word not in _PLAIN]
    yield (
        f"It builds an image from {_short_path(preset, path)}, upon {_few(bases)}, with {_count(len(runs), 'command')} "
        f"(RUN) and {_count(len(copies), 'copy', 'copies')} of files (COPY, ADD)."
    )
    if len(listed) == MAX_STEPS:
        yield f"{_short_path(preset, path)} has more instructions than are told here."
    if frontend := image.args.get("BUILDKIT_SYNTAX") or directives(text).get("syntax"):
        yield f"What its instructions mean is up to the image {frontend}."
    for run in runs[:MAX_LISTED]:
        yield f"The build runs: {_command(run)}"
    if len(runs) > MAX_LISTED:
        yield f"The build runs {_count(len(runs) - MAX_LISTED, 'command')} more."
    if downloads := [rest for rest in copies if "://" in rest or rest.startswith("git@")]:
        yield f"It downloads into the image: {_few(downloads)}."
    if others:
        yield f"The image is set up with: {_few(others)}."
    if image.args:
        yield f"Arguments of the build: {_few(f'{name}={value}' for name, value in image.args.items())}."


def _service(endpoint: Endpoint) -> Iterator[str]:
    yield f"Its {endpoint.title} ({endpoint.name}) runs: {_command(shlex.join(endpoint.command))}"
    if endpoint.env:
        listed = _few(f"{name}={value}" for name, value in endpoint.env.items())
        yield f"Its {endpoint.title} ({endpoint.name}) has the variables {listed}."


def _resources(preset: Preset) -> Iterator[str]:
    limits = preset.resources
    gpus = limits.gpus or (EVERY if preset.gpu else NONE)
    if gpus:
        yield "all GPUs" if gpus == EVERY else f"GPUs ({gpus})"
    for size, what in ((limits.memory, "memory"), (limits.shm, "shared memory")):
        if size is not None:
            yield f"{size / 1024**3:.3g} GiB of {what}"
    if limits.cpus is not None:
        yield f"{limits.cpus:g} processor cores"
    if limits.pids is not None:
        yield f"{limits.pids} processes"


def _short_path(preset: Preset, path: str) -> str:
    folder = preset.project.folder if preset.project else ""
    return os.path.relpath(path, folder) if folder and path.startswith(folder.rstrip("/") + "/") else path


def _command(text: str) -> str:
    """A command on one line; of a long one the end too, where what matters could be hidden."""
    text = " ".join(text.split())
    if len(text) <= MAX_COMMAND_CHARS:
        return text
    return f"{text[:100]} … {len(text) - MAX_COMMAND_CHARS} characters more … {text[100 - MAX_COMMAND_CHARS :]}"


def _few(items: Iterable[str]) -> str:
    """The first ones, each short, and how many more there are."""
    listed = list(items)
    if not listed:
        return "nothing"
    shown = ", ".join(_cut(item, 60) for item in listed[:MAX_LISTED])
    return shown + (f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else "")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
