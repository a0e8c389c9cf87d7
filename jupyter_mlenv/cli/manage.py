"""`stop`, `restart` and `rm`: environments that are there."""

from __future__ import annotations

import argparse
import sys

from ..environments.model import Environment
from . import output
from .command import Command, add_ids, add_json, find, follow
from .question import yes


class StopCommand(Command):
    name = "jupyter-mlenv-stop"
    description = "Stop environments. What is installed in them stays; what runs in them ends."
    examples = "  jupyter mlenv stop python\n  jupyter mlenv restart python     starts it again"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser, "+")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            stopped = [await environments.stop(e.id) for e in await find(environments, args.ids)]
        if args.json:
            output.write_json([environment.to_json() for environment in stopped])
        else:
            for environment in stopped:
                output.write(f"{environment.id} is stopped")
        return 0


class RestartCommand(Command):
    name = "jupyter-mlenv-restart"
    description = "Stop and start environments; one that is stopped is started. What is installed in them stays."
    examples = "  jupyter mlenv restart python"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser, "+")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        started: list[Environment] = []
        async with self.environments() as environments:
            for environment in await find(environments, args.ids):
                _, job = await environments.restart(environment.id)
                started.append(await follow(job, quiet=args.json))
        if args.json:
            output.write_json([environment.to_json() for environment in started])
        else:
            for environment in started:
                output.write(f"{environment.id} is {environment.state.value}", style="green")
        return 0


class RemoveCommand(Command):
    name = "jupyter-mlenv-rm"
    description = "Remove environments with all that was installed in them. The files of the project stay."
    examples = "  jupyter mlenv rm python\n  jupyter mlenv rm --yes python-1f2e3d4c5b"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser, "+")
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        if not args.yes and not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
            self.parser.error("there is no terminal to ask on; say --yes to remove without a question")
        async with self.environments() as environments:
            found = await find(environments, args.ids)
            if not args.yes and not confirmed(found):
                output.write("Nothing was removed.", stream=sys.stderr)
                return 1
            for environment in found:
                await environments.remove(environment.id)
                if not args.json:
                    output.write(f"{environment.id} is removed")
        if args.json:
            output.write_json([{"id": environment.id, "removed": True} for environment in found])
        return 0


def confirmed(environments: list[Environment]) -> bool:
    """Ask on the terminal; only a clear yes is one."""
    for environment in environments:
        output.write(f"  {environment.id}  {output.short_path(environment.workspace)}", stream=sys.stderr)
    what = "this environment" if len(environments) == 1 else f"these {len(environments)} environments"
    return yes(f"Remove {what}, with all that was installed inside? Files of the project stay.")
