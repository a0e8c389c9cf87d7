"""TOML -> Preset, and where presets come from.

`parse` is pure; `load` reads, first wins: the folders of `settings.preset_paths`, the catalog of this package. A file
that is wrong is reported and never hides the others.

The `mlenv.toml` of a workspace may have come with a cloned repository, and one click starts it. So it takes no name
that exists, and is confined: it reaches nothing outside its workspace, joins no network, and does not build on a preset
that does either. Whether a person has agreed to it is `planning/consent.py`'s part.
"""

from __future__ import annotations

import functools
import itertools
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import treewalk
from ..errors import PresetInvalid, PresetNotFound
from ..plaintext import one_line
from ..settings import Settings
from . import project_files, toml_scan
from .builder import build
from .document import MAX_FILE_BYTES, nearest, read
from .model import Preset
from .rules import absolute, check, lent, merge

WORKSPACE_FILE = "mlenv.toml"
"""The preset file of a workspace."""

DEFAULT_NAME = "project"
"""The name of a workspace's preset, unless its file gives another one."""

MAX_NAME_CHARS = 32
"""Characters of a preset's name."""

Lookup = Callable[[str], "Mapping[str, Any] | None"]
"""The merged data of another preset, for `extends`; None if there is none of that name."""


def parse(text: str, *, file: str, directory: str, extends: Lookup | None = None, confined: str = "") -> Preset:
    """One preset.

    Parameters
    ----------
    file, directory
        The file's name for messages; the folder that relative paths start at.
    extends
        How to find the preset that `extends` names. Default: the catalog.
    confined
        The workspace that this file may not reach out of; empty for a file that is trusted.

    Raises
    ------
    PresetInvalid
        With file, line, field and what is allowed.
    """
    return build(
        _merged(text, file, directory, extends or _catalog_data().get, confined), file, directory, default_endpoints()
    )


def load(settings: Settings, workspace: str = "") -> tuple[list[Preset], list[PresetInvalid]]:
    """All presets a person can start in this workspace, and the errors of the files that hold no valid one.

    An error's `details["preset"]` is the name that the file would have had, unless a better file has it already.
    """
    found: dict[str, Preset] = {}
    errors: list[PresetInvalid] = []
    trusted, within = _trusted_files(settings, workspace)
    errors += [
        PresetInvalid(
            f"{path} is not used here: it lies in the project {workspace}, where code in a container could have "
            "written it.",
            hint="Move it to another of the folders where presets are looked for.",
            details={"file": str(path)},
        )
        for path in within
    ]

    def extends(name: str, seen: tuple[str, ...] = ()) -> Mapping[str, Any] | None:
        for path in trusted:
            if path.stem == name and name not in seen:
                lookup = functools.partial(extends, seen=(*seen, name))
                return _merged(_text(path), str(path), str(path.parent), lookup, "")
        return _catalog_data().get(name)

    for path in trusted:
        # A file may extend the preset of the same name that it hides.
        lookup = functools.partial(extends, seen=(path.stem,))
        try:
            preset = parse(_text(path), file=str(path), directory=str(path.parent), extends=lookup)
        except PresetInvalid as error:
            if path.stem not in found:
                error.details["preset"] = path.stem
            errors.append(error)
        else:
            found.setdefault(preset.name, preset)
    for preset in catalog():
        found.setdefault(preset.name, preset)
    if not (settings.project_presets and workspace and os.path.lexists(os.path.join(workspace, WORKSPACE_FILE))):
        return _in_order(found.values()), errors
    theirs = {path.stem for path in trusted}

    def lends(name: str) -> Mapping[str, Any] | None:
        base = extends(name)
        return lent(base) if base is not None and name in theirs else base

    try:
        own = _of_project(workspace, lends, list(found.values()), {*found, *theirs})
    except PresetInvalid as error:
        return _in_order(found.values()), [error, *errors]
    return _in_order([own, *found.values()]), errors


def _in_order(presets: Iterable[Preset]) -> list[Preset]:
    return sorted(presets, key=lambda preset: preset.order)


def find(name: str, presets: Sequence[Preset], errors: Sequence[PresetInvalid] = ()) -> Preset:
    """The preset of this name.

    Raises PresetInvalid if a broken file has it, else PresetNotFound, which names the nearest and says what is wrong
    with the project's own.
    """
    for error in errors:
        if error.details.get("preset") == name:
            raise error
    for preset in presets:
        if preset.name == name:
            return preset
    names = [preset.name for preset in presets]
    guess = nearest(name, names)
    project = (e.message for e in errors if os.path.basename(str(e.details.get("file"))) == WORKSPACE_FILE)
    why = next((f" The project's own preset cannot be used: {message}" for message in project), "")
    raise PresetNotFound(
        f'There is no preset "{name[:100]}".{why}',
        hint=f'Did you mean "{guess}"?' if guess else f"There are: {', '.join(names)}.",
        details={"preset": name[:100], "nearest": guess, "presets": names},
    )


@functools.cache
def catalog() -> tuple[Preset, ...]:
    """The presets that ship with this package, in their order."""
    built = [build(data, "catalog", "", default_endpoints()) for data in _catalog_data().values()]
    return tuple(sorted(built, key=lambda preset: preset.order))


@functools.cache
def default_endpoints() -> Mapping[str, Mapping[str, Any]]:
    """`notebook` and `tensorboard`, which every preset has unless it says otherwise."""
    text = (_catalog_folder() / "_endpoints.toml").read_text("utf-8")
    document = read(text, "_endpoints.toml", shipped=True)
    endpoints: Mapping[str, Mapping[str, Any]] = document.data["endpoints"]
    return endpoints


@functools.cache
def _catalog_data() -> Mapping[str, Mapping[str, Any]]:
    texts = {name: (_catalog_folder() / f"{name}.toml").read_text("utf-8") for name in _catalog_names()}

    def merged(name: str) -> Mapping[str, Any] | None:
        return _merged(texts[name], f"{name}.toml", "", merged, "", shipped=True) if name in texts else None

    return {name: data for name in texts if (data := merged(name)) is not None}


@functools.cache
def _catalog_names() -> tuple[str, ...]:
    names = sorted(path.name[:-5] for path in _catalog_folder().iterdir() if path.name.endswith(".toml"))
    return tuple(name for name in names if not name.startswith("_"))


def _catalog_folder() -> Any:
    return files(__package__) / "catalog"


def _trusted_files(settings: Settings, workspace: str) -> tuple[list[Path], list[Path]]:
    """The preset files of the person and the administrator; second, those that lie in the workspace and so are not."""
    found: list[Path] = []
    within: list[Path] = []
    for folder in settings.preset_paths:
        if os.path.isdir(folder):
            listed = sorted(path for path in Path(folder).glob("*.toml") if not path.name.startswith(("_", ".")))
            mine = [path for path in listed if workspace and _lies_in(path, workspace)]
            within += mine
            found += [path for path in listed if path not in mine]
    return found, within


def _lies_in(path: Path, workspace: str) -> bool:
    """Return whether the file, the link to it or the folder of either can be changed in the workspace."""
    inside = os.path.realpath(workspace).rstrip("/") + "/"
    ways = (os.path.abspath(path), os.path.realpath(path), os.path.join(os.path.realpath(path.parent), path.name))
    return any(way.startswith(inside) for way in ways)


def _of_project(workspace: str, extends: Lookup, others: Sequence[Preset], taken: Collection[str]) -> Preset:
    """The preset that comes with a project. Raises PresetInvalid, also for a name or title that is another preset's."""
    file = os.path.join(workspace, WORKSPACE_FILE)
    try:
        text = treewalk.read_text(workspace, WORKSPACE_FILE, MAX_FILE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    try:
        preset = parse(text, file=file, directory=workspace, extends=extends, confined=workspace)
    except PresetInvalid as error:
        name = toml_scan.text_of(text, "name") or DEFAULT_NAME
        if name not in taken:
            error.details["preset"] = one_line(name[:MAX_NAME_CHARS])
        raise
    if preset.name in taken:
        raise read(text, file).fail(
            ("name",),
            f'is "{preset.name}", which is the name of another preset already: the preset of a project may not '
            "stand in its place",
            hint=f'Call it something else, for example name = "{_free(preset.name, taken)}".',
        )
    # A tile may look like an administrator's, with its limits; where it comes from is said in our words.
    title = next((one for one in others if _alike(one.title) == _alike(preset.title)), None)
    if title is not None:
        where = f'is "{preset.title}", which is the title of the preset "{title.name}"'
        raise read(text, file).fail(("title",), where, hint="Choose another one.")
    return replace(
        preset,
        description=f"From this project's {WORKSPACE_FILE}. {preset.description}".strip(),
        project=project_files.project(workspace, preset, text),
    )


def _alike(title: str) -> str:
    """Return a title as a person sees it: without case, width of letters and spaces."""
    return "".join(unicodedata.normalize("NFKC", title).casefold().split())


def _free(name: str, taken: Collection[str]) -> str:
    """A name that no preset has yet."""
    numbered = (f"{DEFAULT_NAME}-{number}" for number in itertools.count(2))
    names = itertools.chain((DEFAULT_NAME, f"{name[:23]}-project"), numbered)
    return next(free for free in names if free not in taken)


def _text(path: Path) -> str:
    """A file of the person's own or the administrator's, which may be a link to wherever they keep it."""
    try:
        real = os.path.realpath(path)
        return treewalk.read_text(os.path.dirname(real), os.path.basename(real), MAX_FILE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(str(path), error) from error


def _unreadable(file: str, error: OSError | UnicodeDecodeError) -> PresetInvalid:
    reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
    hint = "Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else "Make it a plain file, or remove it."
    return PresetInvalid(f"{file} cannot be read: {reason}.", hint=hint, details={"file": file})


def _merged(
    text: str, file: str, directory: str, extends: Lookup, confined: str, *, shipped: bool = False
) -> dict[str, Any]:
    """The file's data on top of what it extends, with absolute paths."""
    document = read(text, file, shipped=shipped)
    data = absolute(document, directory)
    data.setdefault("name", DEFAULT_NAME if os.path.basename(file) == WORKSPACE_FILE else Path(file).stem)
    base: Mapping[str, Any] = {}
    if parent := data.get("extends"):
        found = extends(parent)
        if found is None:
            guess = nearest(parent, _catalog_data()) if file not in {f"{n}.toml" for n in _catalog_names()} else ""
            hint = f'Did you mean "{guess}"?' if guess else "See `jupyter mlenv presets`."
            raise document.fail(("extends",), f'names the preset "{parent}", which does not exist', hint=hint)
        base = found
    check(document, data, base, confined, default_endpoints())
    return merge(base, data)
