"""The packages of an image -> Dockerfile text, package groups, context files, content hash. Reads our own scripts only.

How it gets fast: the host's own `uv` binary takes part in the build as a bind mount (no download, no layer), a cache
mount keeps wheels between builds, all cores compile bytecode and leave test suites out, and packages come in groups,
one `RUN` each, so that an image which only adds packages is served from the layers of an earlier one.

Packages go into the interpreter that the base image already has, next to what its publisher installed there (a venv
would hide a preinstalled CUDA build of PyTorch from the resolver and install it a second time). On Debian that is
`/usr/local`, which Debian leaves to us; the `--break-system-packages` says we mean it.

What must not end up in a layer or in the image's history (proxies, index URLs with credentials) travels in `.mlenv/`
and `.mlenv-index/` of the build context and is only mounted. The classic builder cannot mount: what is no secret is
copied and removed again there, and what may be one is the value of a build argument that it keeps nowhere (`CARRIER`).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..container_layout import LABEL
from ..engines.model import BuildRecipe, FileEntry, plain_step
from .package_index import CA_VARIABLES

JUPYTER_PACKAGES = ("jupyterlab>=4.2,<5", "ipykernel>=6.29", "tensorboard>=2.16")
"""The first group of every image, so that all presets on one base share its layer."""

KIT = ".mlenv"
"""Folder of the build context that holds our scripts, and what the host adds: uv, CA bundle, settings."""

INDEX = ".mlenv-index/url"
"""File of the build context with the address of a preset's own index. Not in `KIT`, which every step mounts: the layer
of Jupyter's packages is shared by all presets on a base, whatever their index."""

INDEX_VARIABLE = "MLENV_INDEX"
"""The variable with the index, where nothing can be mounted."""

CARRIER = "ftp_proxy"
"""A predefined argument of builds: every step sees it, and no history, layer, image or cache key has it. The classic
builder has no other way to tell a step something secret, and nothing of ours speaks FTP."""

_MOUNTED = "/dev/mlenv"  # /dev is a tmpfs in every build step, so not even an empty mount point gets into a layer
_COPIED = "/tmp/.mlenv"  # noqa: S108 - classic builder only, removed by the last step
INDEX_OPTION = "--mlenv-index"  # of install.sh: use the preset's own index too
FORMAT = 1  # part of the content hash: raise it when the same request shall give another image

_ENV = "PIP_BREAK_SYSTEM_PACKAGES=1"  # `pip install` in a notebook of a Debian base goes to ~/.local


@dataclass(frozen=True)
class ImageRequest:
    """The parts of a generated image. `requirements`: a requirements file's text that is no plain package list."""

    base: str
    python: str = "python3"
    add_jupyter: bool = True
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    pip_index: str = ""
    requirements: str = ""

    @property
    def hash(self) -> str:
        """12 hex digits of the content, whatever the groups: the same request always finds its image again."""
        content = [FORMAT, self.base, self.python, self.add_jupyter, sorted(self.apt), sorted(self.pip), self._index]
        return digest(json.dumps([*content, self.requirements, JUPYTER_PACKAGES if self.add_jupyter else ()]))

    @property
    def _index(self) -> str:
        """Marked, so that no image is used any more that was built when its history had the address."""
        return self.pip_index and f"{INDEX} {self.pip_index}"


def fold_requirements(text: str) -> tuple[tuple[str, ...], str]:
    """A requirements file as `(package specifications, "")` if it is a plain list, else `((), text)`.

    Only a plain list can be split into groups; options, includes, hashes and paths keep the file whole.
    """
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines()]
    specs = [line for line in lines if line]
    if any(line.startswith(("-", ".", "/")) or line.endswith("\\") or " --" in line for line in specs):
        return (), text
    return tuple(specs), ""


def groups_for(requested: Sequence[str], previous: Sequence[Sequence[str]] = ()) -> tuple[tuple[str, ...], ...]:
    """Split packages into groups: those of an earlier image that still fit, then one with what is new."""
    kept = kept_groups(requested, previous)
    covered = {spec for group in kept for spec in group}
    new = tuple(spec for spec in dict.fromkeys(requested) if spec not in covered)
    return (*kept, new) if new else kept


def kept_groups(requested: Sequence[str], previous: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The leading groups of which everything is still asked for.

    From the first that is not on, all layers would be built again anyway.
    """
    wanted = set(requested)
    groups = itertools.takewhile(lambda group: group and set(group) <= wanted, previous)
    return tuple(tuple(group) for group in groups)


def best_previous(
    requested: Sequence[str], layers: str, earlier: Iterable[Mapping[str, str]]
) -> tuple[tuple[str, ...], ...]:
    """Return, from the labels of earlier images, the groups on the same layers that cover most requested packages."""
    candidates = [
        kept_groups(requested, parse_groups(labels.get(f"{LABEL}.groups", "")))
        for labels in earlier
        if labels.get(f"{LABEL}.base") == layers
    ]
    return max(candidates, key=lambda groups: sum(map(len, groups)), default=())


def parse_groups(label: str) -> tuple[tuple[str, ...], ...]:
    """The groups that an image's label names; none if the label is not ours."""
    try:
        value = json.loads(label or "[]")
    except (ValueError, RecursionError):  # an image of others may carry anything in it
        return ()
    if not isinstance(value, list) or not all(isinstance(group, list) for group in value):
        return ()
    return tuple(tuple(str(spec) for spec in group) for group in value)


def recipe(
    request: ImageRequest,
    preset: str,
    *,
    earlier: Iterable[Mapping[str, str]] = (),
    buildkit: bool = True,
) -> BuildRecipe:
    """The build of a generated image; `hostpython.equipped` adds what the host lends to it.

    Parameters
    ----------
    earlier
        Labels of images that were built before.
    """
    groups = groups_for(request.pip, best_previous(request.pip, _layer_key(request), earlier))
    text = render(request, groups, buildkit=buildkit)
    return BuildRecipe(
        tag=f"mlenv/{preset}:{request.hash}",
        dockerfile=text,
        files=kit(request),
        labels={
            f"{LABEL}.preset": preset,
            f"{LABEL}.groups": json.dumps(groups),
            f"{LABEL}.base": _layer_key(request),
        },
        steps=count_steps(text),
        step_title=step_text,
    )


def render(request: ImageRequest, groups: Sequence[Sequence[str]], *, buildkit: bool = True) -> str:
    """The Dockerfile. `buildkit=False` gives the form that the classic builder understands."""
    lines = [f"FROM {request.base}", "USER root", f"ENV {_ENV}"]
    if buildkit:
        lines += [_mounted(command) for command in _commands(request, groups, f"{_MOUNTED}/kit")]
    else:
        lines.append(f"COPY {KIT} {_COPIED}")
        lines += [f"RUN {command}" for command in _commands(request, groups, _COPIED)]
        lines.append(f"RUN rm -rf {_COPIED}")
    return "\n".join(lines) + "\n"


def kit(request: ImageRequest) -> tuple[FileEntry, ...]:
    """Our part of the build context."""
    from importlib.resources import files  # noqa: PLC0415 - only builds need it

    scripts = files(__package__) / "build_scripts"
    entries = [
        FileEntry(f"{KIT}/{name}", scripts.joinpath(name).read_bytes(), 0o755)
        for name in ("install.sh", "apt.sh", "compile.py")
    ]
    if request.requirements:
        entries.append(FileEntry(f"{KIT}/requirements.txt", request.requirements.encode()))
    if request.pip_index:
        entries.append(FileEntry(INDEX, request.pip_index.encode()))
    return tuple(entries)


def carried(text: str, index: str) -> str:
    """The value of `CARRIER`: the text of `env.sh`, and the address of a preset's own index."""
    if index:
        text += f"export {INDEX_VARIABLE}={shlex.quote(index)}\n"
    return "mlenv:" + base64.b64encode(text.encode()).decode()


def env_file(ca_bundle: bool, proxies: Mapping[str, str], pip_env: Mapping[str, str]) -> str:
    """`.mlenv/env.sh`: what steps of a build see in their environment, and no layer keeps."""
    variables: dict[str, str] = {}
    for name, value in proxies.items():
        variables[name.lower()] = variables[name.upper()] = value
    variables.update(pip_env)
    variables.update({_UV_NAMES[name]: value for name, value in pip_env.items() if name in _UV_NAMES})
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items()) if _name(name)]
    if ca_bundle:
        # $kit is set by the script that reads this file.
        lines += [f'export {name}="$kit/ca.pem"' for name in CA_VARIABLES]
    return "".join(f"{line}\n" for line in lines)


_UV_NAMES = {  # https://docs.astral.sh/uv/reference/environment/
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_NO_INDEX": "UV_NO_INDEX",
}


def _name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


def _commands(request: ImageRequest, groups: Sequence[Sequence[str]], kit: str) -> list[str]:
    """The steps after FROM: Jupyter, Debian packages, then one per group."""
    install = f"sh {kit}/install.sh {shlex.quote(request.python)}"
    commands = [f"{install} {shlex.join(JUPYTER_PACKAGES)}"] if request.add_jupyter else []
    if request.apt:
        commands.append(f"sh {kit}/apt.sh {shlex.join(request.apt)}")
    asked: list[str] = [*JUPYTER_PACKAGES] if request.add_jupyter else []
    # The layer of Jupyter's packages is shared by all presets on the base, so an extra index is no part of it.
    options = [INDEX_OPTION] if request.pip_index else []
    for group in groups:
        # Earlier requests are named again: what is there is kept, and a conflict is an error instead of a downgrade.
        commands.append(f"{install} {shlex.join([*options, *asked, *group])}")
        asked += group
    if request.requirements:
        commands.append(f"{install} {shlex.join([*options, '-r', f'{kit}/requirements.txt', *asked])}")
    return commands


def _mounted(command: str) -> str:
    # Private apt caches: two builds at once must not wait for each other. uv locks its own cache.
    caches = {"uv": ("shared", f"{_MOUNTED}/uv-cache")} if "/install.sh " in command else {}
    caches |= {"apt": ("private", "/var/cache/apt"), "apt-lists": ("private", "/var/lib/apt/lists")}
    mounts = [f"--mount=type=bind,source={KIT},target={_MOUNTED}/kit"]
    if f" {INDEX_OPTION} " in command:
        mounts.append(f"--mount=type=bind,source={os.path.dirname(INDEX)},target={_MOUNTED}/index")
    mounts += [
        f"--mount=type=cache,id=mlenv-{name},sharing={sharing},target={path}"
        for name, (sharing, path) in caches.items()
    ]
    return " \\\n    ".join(["RUN " + mounts[0], *mounts[1:], command])


def step_text(step: str) -> str:
    """A step of a build as a person reads it: its number is told elsewhere, and what our own scripts do has words."""
    text = plain_step(step)
    match = re.match(r"RUN sh \S*/(install|apt)\.sh (.+)", text)
    if not match:
        return text
    try:
        words = shlex.split(match[2])
    except ValueError:  # cut in the middle of a quotation
        words = match[2].split()
    if match[1] == "apt":
        return f"Installing Debian packages: {', '.join(words)}"
    after = dict(itertools.pairwise(words))  # an option's value is no package
    values = {after.get(option) for option in ("--index", "--index-strategy")}
    named = [os.path.basename(word) for word in words[1:] if not word.startswith("-") and word not in values]
    packages = [word for word in named if word not in JUPYTER_PACKAGES] or named
    return f"Installing {', '.join(re.split('[<>=!~;@ ]', word)[0] for word in packages)}"


def _layer_key(request: ImageRequest) -> str:
    """Images with the same key can share the layers below their first group."""
    parts = [FORMAT, request.base, request.python, request.add_jupyter, request.apt, request.pip_index]
    return digest(json.dumps(parts))


def count_steps(text: str) -> int:
    """Instructions of a Dockerfile that a builder counts as steps, roughly."""
    return len(re.findall(r"^(?:FROM|RUN|COPY|ADD|ENV|USER|WORKDIR|ARG|LABEL)\b", text, re.MULTILINE))


def digest(text: str) -> str:
    """12 hex digits of a text's content."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
