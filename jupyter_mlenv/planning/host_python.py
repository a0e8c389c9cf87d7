"""The host's own Python for the preset `host`, and its help for builds.

The image of the `host` preset has no files of its own but empty directories and the links `/bin`, `/lib`, …; the
host's `/usr` and the interpreter's prefixes are mounted read-only. So the first click works with no registry, no
download and no build. Nothing is mounted that could hold secrets: no `/etc` but a few named public files, no home; and
what is configuration below a prefix stays empty (`planning/host_config.py`).
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import platform
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..engines.model import BuildRecipe, FileEntry, Mount
from ..errors import MlenvError
from ..mounts import inside
from ..settings import Settings
from .dockerfile import CARRIER, INDEX, KIT, carried, env_file

IMAGE = "mlenv/host"
"""Name of the image; its tag is the hash of `tar()`."""

_DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "opt": 0o755,
    "proc": 0o755,
    "root": 0o755,  # empty; a prefix below it must be reachable for every user
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/tmp": 0o1777,
}

_LINKS = ("bin", "lib", "lib32", "lib64", "libx32")

# Public, and needed: shared libraries, TLS, `cc` and friends, local time, fonts of plots, file types of the server.
_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/fonts",
    "/etc/mime.types",
    "/etc/terminfo",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/os-release",
)

_UNMERGED = ("/bin", "/lib", "/lib64", "/sbin")


def tar(root: str = "/") -> bytes:
    """The root file system of the image, the same bytes on every call.

    `/bin`, `/lib`, `/lib64` are the links that the host has; where it has directories (not merged into `/usr`), the
    image has empty ones and `mounts` fills them. `/sbin` is always a directory: the engine mounts its init there.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode in {**_DIRECTORIES, "sbin": 0o755}.items():
            archive.addfile(_entry(name, tarfile.DIRTYPE, mode))
        for name in _LINKS:
            path = Path(root, name)
            if path.is_symlink():
                entry = _entry(name, tarfile.SYMTYPE, 0o777)
                entry.linkname = os.readlink(path)
                archive.addfile(entry)
            elif path.is_dir():
                archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
    return buffer.getvalue()


def reference() -> str:
    """The image's name with its content hash as the tag."""
    return f"{IMAGE}:{hashlib.sha256(tar()).hexdigest()[:12]}"


def mounts(settings: Settings) -> tuple[Mount, ...]:
    """The host's files that its Python needs, read-only; only what exists.

    Raises MlenvError when a prefix of the interpreter is the home directory, or contains it: mounting that would hand
    every secret in it to the container.
    """
    paths = ["/usr", *prefixes(settings)]
    paths += [path for path in _UNMERGED if os.path.isdir(path) and not os.path.islink(path) and path != "/sbin"]
    paths += [path for path in _FILES if os.path.exists(path)]
    return tuple(Mount(source=path, target=path, read_only=True) for path in paths)


def prefixes(settings: Settings) -> tuple[str, ...]:
    """The interpreter's prefixes that are not below `/usr` or below one another; outermost only."""
    home = os.path.realpath(os.path.expanduser("~"))
    # A venv's python is a link, often through several more (pyenv, uv): each folder on the way must be there.
    wanted = dict.fromkeys([*settings.host_prefixes, *_link_prefixes(settings.host_python)])
    found: list[str] = []
    for prefix in wanted:
        path = os.path.abspath(prefix)
        if inside(path, "/usr"):
            continue
        for form in {path, os.path.realpath(path)}:
            if inside(home, form):
                raise MlenvError(
                    f"This machine's Python lives in {path}, which is or contains the home directory: the preset "
                    '"host" would give every file of it to the container.',
                    hint="Use another preset, or install Jupyter into a virtual environment of its own.",
                )
        if not os.path.isdir(path):
            continue
        found.append(path)
    return tuple(p for p in found if not any(p != other and inside(p, other) for other in found))


def own_mounts(settings: Settings, workspace: str) -> tuple[Mount, ...]:
    """The Python that runs Jupyter itself, read-only, where it lies in the project: a `.venv` there, as uv makes it.

    What code in the container wrote into it would run as the person, outside, when Jupyter is started next. A folder
    that is reached through a link cannot be kept so, since the link can be replaced.
    """
    folder = workspace.rstrip("/") + "/"
    found = [path for path in settings.own_prefixes if path.startswith(folder) and os.path.realpath(path) == path]
    return tuple(Mount(path, path, read_only=True) for path in dict.fromkeys(found) if os.path.isdir(path))


def equipped(recipe: BuildRecipe, settings: Settings, architecture: str, *, buildkit: bool) -> BuildRecipe:
    """The recipe with what the host adds: CA bundle, proxy and index settings, its `uv` binary.

    Only for recipes that carry our scripts: a person's own Dockerfile may copy its whole context into a layer. Reads
    about 40 MB and blocks, so call it in a thread and only when a build is due. Raises MlenvError if the CA bundle
    cannot be read.
    """
    files, args = list(recipe.files), dict(recipe.args)
    env = env_file(bool(settings.ca_bundle), settings.proxies, settings.pip_env)
    if buildkit:
        files.append(FileEntry(f"{KIT}/env.sh", env.encode()))
    else:
        index = b"".join(entry.data or b"" for entry in files if entry.path == INDEX)
        files = [entry for entry in files if entry.path != INDEX]
        args[CARRIER] = carried(env, index.decode())
    if settings.ca_bundle:
        files.append(FileEntry(f"{KIT}/ca.pem", ca_bundle(settings)))
    if sys.platform == "linux" and _machine(platform.machine()) == _machine(architecture):
        binary = _uv()
        if binary:
            files.append(FileEntry(f"{KIT}/uv", Path(binary).read_bytes(), 0o755))
    return replace(recipe, files=tuple(files), args=args)


def ca_bundle(settings: Settings) -> bytes:
    """The CA bundle's content (about 200 KB), read again only when the file has changed. Raises MlenvError."""
    try:
        found = os.stat(settings.ca_bundle)
        return _content(settings.ca_bundle, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise MlenvError(
            f"The CA bundle {settings.ca_bundle} cannot be read: {error.strerror}.",
            hint="Set MlenvConfig.ca_bundle to a readable PEM file, or to an empty text.",
        ) from error


@functools.lru_cache(maxsize=2)
def _content(path: str, changed: int, size: int) -> bytes:
    return Path(path).read_bytes()


def _uv() -> str:
    import uv  # noqa: PLC0415 - only builds need it

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError:
        return ""


def _machine(name: str) -> str:
    names: Mapping[str, str] = {"amd64": "x86_64", "arm64": "aarch64"}
    return names.get(name.lower(), name.lower())


def _link_prefixes(python: str) -> list[str]:
    """For each link on the way from `python` to the real interpreter, the prefix (`<prefix>/bin/python`) it is in."""
    found: list[str] = []
    while python and len(found) < 40:
        folder = os.path.dirname(os.path.abspath(python))
        if os.path.basename(folder) == "bin":
            found.append(os.path.dirname(folder))
        if not os.path.islink(python):
            break
        python = os.path.join(folder, os.readlink(python))
    return found


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, 0
    return entry
