"""An argument parser that explains itself, and the forms of sizes, mounts and GPUs."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..engines.gpus import GpuRequest
from ..engines.gpus import parse as parse_gpus
from ..engines.model import Mount
from ..errors import RequestInvalid
from ..sizes import SMALLEST_MEMORY_BYTES, parse_size

EXIT_USAGE = 2
"""Exit status for a call that is wrong in itself, as argparse and most Unix programs have it."""

_TRAIT = re.compile(r"--?(?P<cls>[A-Z]\w*)\.(?P<trait>\w+)(?P<value>=.*)?", re.DOTALL)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word a person most likely meant, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def split_traits(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The tokens for traitlets (`--Class.trait=value`, also `--Class.trait value`) and all the others, in order."""
    traits: list[str] = []
    others: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        match = _TRAIT.fullmatch(token)
        if match is None:
            others.append(token)
        elif match["value"]:
            traits.append(token)
        else:
            traits.append(f"{token}={next(tokens, '')}")
    return traits, others


def unknown_trait(token: str, classes: Iterable[type[Any]]) -> str:
    """Return why `--Class.trait=value` names no setting; an empty string if it names one.

    traitlets would take it silently: a misspelt knob must not look as if it had worked.
    """
    match = _TRAIT.fullmatch(token)
    if match is None:
        return ""
    known = {cls.__name__: cls for cls in classes}
    if match["cls"] not in known:
        guess = nearest(match["cls"], known)
        return f"there is no class {match['cls']}" + (f"; did you mean {guess}?" if guess else "")
    names = known[match["cls"]].class_trait_names(config=True)
    if match["trait"] not in names:
        guess = nearest(match["trait"], names)
        return f"{match['cls']} has no {match['trait']}" + (f"; did you mean {guess}?" if guess else "")
    return ""


class Parser(argparse.ArgumentParser):
    """argparse with a suggestion for a misspelt option, options anywhere among the positionals, and exit status 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._positionals.title = "arguments"

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Exits with status 2 and a sentence on what is wrong with `argv`."""
        for word in argv:
            option = word.split("=")[0]
            # Before argparse, which would rather tell of what the misspelt option was to give.
            if word.startswith("--") and option not in self._option_string_actions:
                guess = nearest(option, self._option_string_actions)
                self.error(f"there is no option {option}" + (f"; did you mean {guess}?" if guess else ""))
        args, extra = self.parse_known_intermixed_args(list(argv))
        if extra and extra[0].startswith("-"):
            self.error(f"there is no option {extra[0]}")
        if extra:
            self.error(f"one argument too many: {' '.join(extra)}")
        return args

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, how it is used and where help is."""
        message = message.replace("the following arguments are required: ", "missing: ")
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"error: {message}\nSee `{self.prog} --help`.\n")


def memory(text: str) -> int:
    """Bytes from `8g`, `512m`, `1.5 GiB` or a plain number of bytes; a binary unit, as Docker has it."""
    try:
        size = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if size < SMALLEST_MEMORY_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is less than the 6 MB an engine accepts; write for example 8g")
    return size


def cores(text: str) -> float:
    """A positive number of processor cores."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cores; write for example 2 or 1.5")
    return value


def gpus(text: str) -> GpuRequest:
    """`all`, a count, `device=0,1` (ids or UUIDs), or `none`."""
    try:
        if text:
            return parse_gpus(text)
    except RequestInvalid:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a GPU request; write all, none, a number, or device=0,1")


def mount(text: str) -> Mount:
    """`HOST[:TARGET[:ro]]`: a file or folder, by default at the same path inside. The HOST path may be relative."""
    parts = text.split(":")
    read_only = len(parts) > 1 and parts[-1] in ("ro", "rw")
    mode = parts.pop() if read_only else "rw"
    if len(parts) > 2 or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a mount; write HOST, HOST:TARGET or HOST:TARGET:ro")
    source = os.path.abspath(os.path.expanduser(parts[0]))
    target = parts[1] if len(parts) == 2 else source
    if not target.startswith("/"):
        raise argparse.ArgumentTypeError(f"the target {target!r} of the mount {text!r} must start with /")
    if not os.path.exists(source):
        raise argparse.ArgumentTypeError(f"there is nothing at {source}, so it cannot be mounted")
    return Mount(source, target, mode == "ro")


def count(text: str) -> int:
    """A non-negative number of lines."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")
    return int(text)
