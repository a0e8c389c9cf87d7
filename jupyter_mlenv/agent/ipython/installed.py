"""What a person is told after a cell that has installed packages: how long they last, and how to keep them.

Runs in the notebook's kernel, loaded by `startup.py` after a cell with the word "install". What there is to say was
decided when the environment was planned (`keep.json` beside this file); here it is found out which packages a cell
named, and whether they are there. Python >= 3.8, standard library only.

    requests(cell)      what the install commands of a cell asked for
    text(...)           what to say about it
"""

from __future__ import annotations

import json
import os
import re
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

MAGICS = ("pip", "uv", "conda", "mamba", "micromamba")
"""Line magics, which IPython also takes without their percent sign."""

SHELLS = ("bash", "sh", "system", "sx", "!", "script")
"""Magics of whole cells that hold shell commands."""

TRANSPARENT = ("time", "timeit", "capture")
"""Magics of whole cells with an ordinary cell below."""

ELSEWHERE = frozenset(
    ("--target", "-t", "--prefix", "--root", "--python", "--dry-run", "--download-only", "--help", "-h", "-n", "--name")
)
"""Options with which nothing is installed, or not here."""

CONDA = "conda"  # of the family of which mamba is one
VALUED = {
    "pip": "--abi --build-constraint --cache-dir --cert --client-cert --config-settings --constraint --editable"
    " --exists-action --extra-index-url --find-links --global-option --group --implementation --index-url"
    " --keyring-provider --log --no-binary --only-binary --platform --prefix --progress-bar --proxy --python"
    " --python-version --report --requirement --retries --root --root-user-action --src --target --timeout"
    " --trusted-host --upgrade-strategy --use-deprecated --use-feature -C -c -e -f -i -r -t",
    "uv": "--allow-insecure-host --build-constraints --cache-dir --color --config-file --config-setting --constraint"
    " --constraints --default-index --directory --editable --exclude-newer --extra --extra-index-url --find-links"
    " --group --index --index-strategy --index-url --keyring-provider --link-mode --no-binary"
    " --no-build-isolation-package --no-build-package --only-binary --override --overrides --prefix --prerelease"
    " --project --python --python-platform --python-version --refresh-package --reinstall-package --requirement"
    " --requirements --resolution --root --target --torch-backend --upgrade-package -C -P -b -c -e -f -i -p -r -t",
    CONDA: "--channel --file --name --prefix --repodata-fn --solver -c -f -n -p",
}
"""Options that are followed by a value, by program."""

FILES = ("-r", "--requirement", "--requirements", "--file")
INDEXES = ("-i", "--index-url", "--extra-index-url", "--index", "--default-index")
LOCAL = (".whl", ".zip", ".tar.gz", ".conda", ".tar.bz2")


class Request:
    """`specs` are packages as `image.pip` takes them, `names` those of them whose name is known."""

    def __init__(self, program: str, words: list[str]) -> None:
        self.specs: list[str] = []
        self.names: list[str] = []
        self.files: list[str] = []
        self.indexes: list[str] = []
        self.here = False
        options, plain = parse(words, VALUED[program].split())
        if plain[:1] != ["install"]:
            return
        elsewhere = {*ELSEWHERE, *(("-p",) if program != "pip" else ()), *(("-d",) if program == CONDA else ())}
        self.here = not elsewhere & {name for name, _ in options}
        self.files = [value for name, value in options if name in FILES]
        self.indexes = [value for name, value in options if name in INDEXES]
        for word in plain[1:]:
            self.add(conda_spec(word) if program == CONDA else word)

    def add(self, spec: str) -> None:
        url = "://" in spec
        if re.search(r"[{}$]", spec) or (not url and (spec[:1] in "./~" or spec.endswith(LOCAL))):
            return  # the value of a variable; a file, which an image cannot have
        self.specs.append(spec)
        # `name>=1`, `name[extra]`, `name @ https://…`, `git+https://…#egg=name`
        found = re.search(r"#egg=([\w.-]+)", spec) or re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:$|[\[<>=!~;@ ])", spec)
        if found:
            self.names.append(found.group(1))


def parse(words: list[str], valued: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values, and the other words."""
    options, plain, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            options.append((name, value if equals else rest.pop(0) if name in valued and rest else ""))
        elif word.startswith("-") and len(word) > 1:
            for number, letter in enumerate(word[1:], 2):
                if "-" + letter in valued:
                    options.append(("-" + letter, word[number:] or (rest.pop(0) if rest else "")))
                    break
                options.append(("-" + letter, ""))
        else:
            plain.append(word)
    return options, plain


def conda_spec(word: str) -> str:
    """`channel::name=1.2=build` as pip would have it."""
    found = re.match(r"([\w.-]+)=([\w.*]+)(?:=[\w.*]+)?$", word.rpartition("::")[2])
    return f"{found[1]}=={found[2]}" if found else word.rpartition("::")[2]


def requests(cell: str) -> list[Request]:
    """What the install commands of a cell ask for, of those that install into this environment."""
    found = [request for words in commands(cell) for request in [as_request(words)] if request and request.here]
    return found


def as_request(words: list[str]) -> Request | None:
    while words and (re.match(r"\w+=", words[0]) or words[0] in ("sudo", "time", "exec")):
        words = words[1:]
    if not words:
        return None
    name = os.path.basename(words[0])
    if "-m" in words[1:-1] and ("python" in name or words[0][0] in "{$"):
        words = words[words.index("-m") + 1 :]
        name = words[0]
    if re.match(r"pip[\d.]*$", name):
        return Request("pip", words[1:])
    if name == "uv" and words[1:2] == ["pip"]:
        return Request("uv", words[2:])
    return Request(CONDA, words[1:]) if name in MAGICS[2:] else None


def commands(cell: str) -> Iterator[list[str]]:
    """The words of each command that a cell hands to a shell or a package manager."""
    lines = cell.replace("\\\n", " ").strip().splitlines()
    shell = False
    if lines and lines[0].startswith("%%"):
        magic = (lines.pop(0)[2:].split() or [""])[0]
        shell = magic in SHELLS
        if not shell and magic not in TRANSPARENT:
            return
    for line in lines:
        # `!cmd`, `%pip …`, `pip …` and `lines = !cmd`
        found = re.match(r"\s*(?:[\w, ]+=\s*)?[!%]+(.*)", line)
        if shell:
            yield from split(line)
        elif found:
            yield from split(found.group(1))
        elif line.split()[:1] and line.split()[0] in MAGICS:
            yield from split(line)


def split(line: str) -> Iterator[list[str]]:
    """A line's commands, without what they are redirected to; none if the line cannot be read."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""  # "#" may stand inside a word
    try:
        tokens = list(lexer)
    except ValueError:
        return
    words: list[str] = []
    while tokens:
        token = tokens.pop(0)
        if token.startswith("#"):
            break
        if not set(token) <= set("();<>|&") or not token:
            words.append(token)
        elif set(token) & set("<>"):
            if words and words[-1].isdigit():
                words.pop()
            del tokens[:1]
        else:
            yield words
            words = []
    yield words


def text(found: list[Request], keep: Mapping[str, str], folder: str) -> str:
    """What to say. `folder` is what paths of requirements files are relative to."""
    specs = list(dict.fromkeys(spec for request in found for spec in request.specs))
    paths = list(dict.fromkeys(os.path.join(folder, path) for request in found for path in request.files))
    indexes = [url for request in found for url in request.indexes]
    if not specs and not paths:
        return keep["lasts"]
    there = bool(keep.get("file")) and os.path.exists(keep["file"])
    how = keep["change"] if there and "change" in keep else keep["keep"]
    start = os.path.dirname(keep.get("file", ""))
    lines = [f"pip = {toml(specs)}"] if specs else []
    lines += [f"requirements = {toml(os.path.relpath(path, start) if start else path)}" for path in paths[:1]]
    lines += [f"pip_index = {toml(url)}" for url in indexes[:1]]
    words = [*specs, *(word for path in paths for word in ("-r", path))]
    words += [word for url in indexes[:1] for word in ("--extra-index-url", url)]
    packages = " ".join(shlex.quote(word) for word in words)
    return keep["lasts"] + "\n" + how.replace("{lines}", "\n".join(lines)).replace("{packages}", packages)


def toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def since(name: str) -> float | None:
    """When a distribution was installed, in seconds since 1970; None if it is not."""
    from importlib import metadata  # noqa: PLC0415  only for cells that install something

    try:
        path: Any = getattr(metadata.distribution(name), "_path", None)
    except metadata.PackageNotFoundError:
        return None
    return os.stat(path).st_ctime if path else None


def succeeded(found: list[Request], begun: float, exit_code: object) -> bool:
    """Whether something is there that was not when the environment was made at `begun`.

    What an image has brought along is older, although the name stands in a cell: "requirement already satisfied". Only
    where a cell names no package, as with a requirements file, its last command's exit code has to do.
    """
    names = [name for request in found for name in request.names]
    if not names:
        return bool(found) and exit_code == 0
    return any((since(name) or 0.0) >= begun for name in names)


def tell(shell: Any, result: Any) -> None:
    """Print it, if the cell has installed something."""
    found = requests(result.info.raw_cell)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keep.json")
    if not succeeded(found, os.stat(path).st_ctime, shell.user_ns.get("_exit_code")):
        return
    with open(path, encoding="utf-8") as file:
        print(text(found, json.load(file), os.getcwd()))
