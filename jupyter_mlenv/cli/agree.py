"""`agree`: see what a project's own preset would run, and agree to it."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from ..errors import RequestInvalid
from ..planning import consent as consents
from ..presets.model import Preset
from . import output
from .command import Command, here
from .question import can_ask, yes

if TYPE_CHECKING:
    from ..environments import Environments


class AgreeCommand(Command):
    name = "jupyter-mlenv-agree"
    description = """\
See what the preset of a project (its mlenv.toml) would run and see, and agree to it: it may have come with a
cloned repository. Nothing of it is used before. When its files change you are asked again."""
    examples = "  jupyter mlenv agree\n  jupyter mlenv agree ~/cloned --yes"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "workspace", metavar="DIR", nargs="?", default="", help="the project folder (default: found from here)"
        )
        parser.add_argument("--yes", "-y", action="store_true", help="agree without a question")

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            workspace = await here(environments, args.workspace)
            preset = consents.of_project(*await environments.presets(workspace), workspace)
            if preset.consent is not None:
                await ask(environments, preset, sure=args.yes)
            output.write(f'You have agreed to the preset "{preset.name}" of {workspace}.')
            output.write(f"  start    jupyter mlenv start {preset.name} --workspace {shlex.quote(workspace)}")
        return 0


async def ask(environments: Environments, preset: Preset, *, sure: bool = False) -> None:
    """Show what the person agrees to, ask unless they are `sure`, and remember it.

    Raises RequestInvalid for a no, ConsentRequired where there is no terminal to ask on or the files change meanwhile.
    """
    consent = preset.consent
    if consent is None:
        return
    if not sure and not can_ask():
        consents.require(preset)
    output.write(f'The preset "{preset.name}" comes with the project: {consent.file}', stream=sys.stderr)
    for sentence in consent.says:
        output.write(f"  {sentence}", stream=sys.stderr)
    if not sure and not yes("It may have come with a cloned repository. Do you agree to that?"):
        raise RequestInvalid("You have not agreed, so nothing was done.")
    await environments.agree(consent.folder, consent.digest)
