"""The note after a cell that has installed packages: how long they last, and how to keep them.

Loaded by `startup.py` in the notebook's kernel for a cell with the word "install". Whether something was installed is
read from the packages' metadata before and after the cell, whatever it ran: pip, uv, a Makefile, a subprocess. The
words of the cell are only asked for what no metadata has: the versions that were wished for, a requirements file, an
index. What there is to say was decided when the environment was planned (`keep.json` beside this file). Python >= 3.8,
standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

WISH = r"(\[[A-Za-z][\w\s,.-]*\])?(\s*(,\s*)?(===?|[<>~!]=?)\s*\d[\w.*+!-]*)*(?P<conda>=\S)?"
"""The part that may follow a package's name: extras, versions, and conda's `=1.2`, which pip does not understand."""

REQUIREMENTS = r"install\b.*?[\s\"'](?:-\w*r|--requirements?)[\s\"',=]+([^\s\"',]+)"
INDEX = r"(?:-i|-index(?:-url)?)[\s\"',=]+(https?://[^\s\"',]+)"

SYSTEM = r"(?:^|[\s(])(apt-get|apt|aptitude|apk|dnf|yum|conda|mamba|micromamba)\s+(?:-\S+\s+)*(?:install|add)\b(.*)"
"""Commands of a shell or a magic that install with the system's package manager, or with conda's."""


class Package:
    """A distribution that is new, and how `image.pip` asks for it.

    `spec` is empty for a file or a folder of this machine, which no image can have. `written` says whether the code
    of the cell has the name.
    """

    def __init__(self, folder: str, code: str) -> None:
        from importlib.metadata import PathDistribution  # noqa: PLC0415  only where something was installed
        from pathlib import Path  # noqa: PLC0415

        distribution = PathDistribution(Path(folder))
        name = distribution.metadata["Name"]
        self.name = canonical(name)
        pattern = rf"(?<![\w./-]){self.name.replace('-', '[-_.]+')}(?![\w-]){WISH}"
        # The longest, since the code may import it too.
        found = max(re.finditer(pattern, code, re.IGNORECASE), key=lambda match: len(match[0]), default=None)
        self.written = found is not None
        extras = (found and found[1]) or ""
        self.spec = found[0] if found and not found["conda"] else f"{name}{extras}=={distribution.version}"
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin:
            self.spec = "" if origin["url"].startswith("file:") else f"{name}{extras} @ {address(origin)}"
        # uv marks every package as requested.
        by_pip = (distribution.read_text("INSTALLER") or "").strip() == "pip"
        self.requested = distribution.read_text("REQUESTED") is not None if by_pip else self.written
        # What an extra brings is kept by itself, unless the code has the extra.
        self.requires = {
            canonical(re.split(r"[^\w.-]", line, maxsplit=1)[0])
            for line in distribution.requires or ()
            if extras or not re.search(r";.*\bextra\b", line)
        }


def canonical(name: str) -> str:
    """Return a name as it is compared with others."""
    return re.sub(r"[-_.]+", "-", name).lower()


def address(origin: Mapping[str, Any]) -> str:
    """Return where a distribution is from, by its `direct_url.json` (PEP 610)."""
    repository, subdirectory = origin.get("vcs_info"), origin.get("subdirectory")
    url = f"{repository['vcs']}+{origin['url']}@{repository['commit_id']}" if repository else origin["url"]
    return f"{url}#subdirectory={subdirectory}" if subdirectory else url


class Installation:
    """The packages that a cell installs: made before the cell runs, asked after it."""

    def __init__(self) -> None:
        # As it is now: a cell may change the path, or the working directory.
        self.path = [os.path.abspath(place) for place in sys.path]
        self.before = self.folders()

    def folders(self) -> dict[str, tuple[int, float]]:
        """Return the folders with distributions' metadata, each with what differs once it is installed again."""
        found = {}
        for place in self.path:
            with suppress(OSError):  # a zip file, or not there
                for entry in os.scandir(place):
                    if entry.name.endswith(".dist-info"):
                        with suppress(OSError):
                            status = entry.stat()
                            # Not the time of the status change: an upgrade that fails moves the old folder back.
                            found[entry.path] = (status.st_ino, status.st_mtime)
        return found

    def packages(self, code: str, begun: float) -> list[Package]:
        """Return what is new, without what has only come along with it.

        What an install command names again counts too if it is newer than the container, which has `begun` then.
        """
        commands = "\n".join(re.findall(r"\binstall\b.*", code))
        found = []
        for folder, stamp in self.folders().items():
            if stamp != self.before.get(folder) or (stamp[1] >= begun and Package(folder, commands).written):
                found.append(Package(folder, code))
        required = {name for package in found for name in package.requires - {package.name}}
        return [package for package in found if package.requested or package.name not in required] or found

    def tell(self, cell: str) -> None:
        """Print what there is to say, if the cell has installed something."""
        code = re.sub(r"(?m)^\s*#.*", "", cell.replace("\\\n", " "))
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keep.json")
        packages = self.packages(code, os.stat(path).st_ctime)
        system = system_commands(code)
        if packages or system:
            with open(path, encoding="utf-8") as file:
                keep = json.load(file)
            if packages:
                print(text(packages, code, keep, os.getcwd()))
            else:
                for program, names in system.items():
                    print(system_text(program, names, keep))


def text(packages: Sequence[Package], code: str, keep: Mapping[str, str], folder: str) -> str:
    """Return what to say. `folder` is what paths of requirements files are relative to."""
    paths = [os.path.join(folder, path) for path in re.findall(REQUIREMENTS, code)]
    paths = [path for path in paths if os.path.isfile(path)][:1]
    # The file has those that the code does not name.
    specs = sorted({package.spec for package in packages if package.spec and (package.written or not paths)})
    if not specs and not paths:
        return keep["lasts"]
    indexes = re.findall(INDEX, code)[:1]
    there = bool(keep.get("file")) and os.path.exists(keep["file"])
    how = keep["change"] if there and "change" in keep else keep["keep"]
    start = os.path.dirname(keep.get("file", ""))
    lines = [f"pip = {toml(specs)}"] if specs else []
    lines += [f"requirements = {toml(os.path.relpath(path, start) if start else path)}" for path in paths]
    lines += [f"pip_index = {toml(url)}" for url in indexes]
    words = [*specs, *(word for path in paths for word in ("-r", path))]
    words += [word for url in indexes for word in ("--extra-index-url", url)]
    arguments = " ".join(shlex.quote(word) for word in words)
    return keep["lasts"] + "\n" + how.replace("{lines}", "\n".join(lines)).replace("{packages}", arguments)


def system_commands(code: str) -> dict[str, list[str]]:
    """Return what a cell has asked the system's or conda's package manager for, by its program."""
    found: dict[str, list[str]] = {}
    whole = re.match(r"\s*%%(bash|sh|script|system|!)", code)
    shell = code if whole else "\n".join(re.findall(r"(?m)^[^#'\"\n]*?[!%](.*)", code))
    for command in re.split(r"[;&|\n]|\s#.*", re.sub(r"\s(?:-[cn]|--channel|--name)[ =]\S+", "", shell)):
        if match := re.search(SYSTEM, command):
            program = "conda" if match[1].endswith(("conda", "mamba")) else match[1]
            names = [word for word in match[2].split() if re.fullmatch(r"[A-Za-z0-9][\w.+:=~*-]*", word)]
            found.setdefault(program, []).extend(names)
    return found


def system_text(program: str, names: Sequence[str], keep: Mapping[str, str]) -> str:
    """Return what to say after a command that wants to be root, or to write into the image."""
    folder = os.path.join(sys.prefix, "conda-meta") if program == "conda" else ""
    if os.access(folder, os.W_OK) if folder else os.getuid() == 0:
        why = f"What {program} installs in here is part of this environment only, and goes with it."
    elif folder:
        why = "conda cannot install into this environment: its Python belongs to the image, which nobody changes here."
    else:
        why = f"{program} cannot install anything in here: it needs root, and an environment runs as you."
    if not names:
        return why
    there = bool(keep.get("file")) and os.path.exists(keep["file"])
    how = keep["change"] if there and "change" in keep else keep["keep"]
    if program == "conda":
        lines, why = f"pip = {toml(names)}", why + " With pip it may have the same name:"
    else:
        lines = f"apt = {toml(names)}"
        how = keep.get("system", how)
    arguments = " ".join(map(shlex.quote, names))
    return f"{why}\n" + how.replace("{lines}", lines).replace("{packages}", arguments)


def toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
