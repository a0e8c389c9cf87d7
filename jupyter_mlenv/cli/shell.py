"""`shell`: a shell, or one command, inside an environment."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from .. import caller_env
from ..errors import RequestInvalid
from ..mounts import inside
from . import output
from .command import Command, add_ids, find


class ShellCommand(Command):
    name = "jupyter-mlenv-shell"
    description = "A shell inside an environment, in the folder you are in; or the one COMMAND after `--`."
    examples = "  jupyter mlenv shell python\n  jupyter mlenv shell python -- pip list"
    takes_command = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser)
        parser.usage = "%(prog)s ID [-- COMMAND …]"

    async def run(self, args: argparse.Namespace) -> int:
        from .terminal import attach  # noqa: PLC0415

        terminal = output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout)
        if not args.command and not terminal:
            raise RequestInvalid(
                "A shell needs a terminal, and there is none here.",
                hint=f"Give it a command instead: jupyter mlenv shell {args.id} -- COMMAND …",
            )
        async with self.environments() as environments:
            (environment,) = await find(environments, [args.id])
            agent = await environments.agent(environment.id)
            passed = caller_env.passed(os.environ, environments.settings.pass_env)
            size = shutil.get_terminal_size()
            session = await agent.exec(
                args.command or ["/bin/sh", "-c", SHELL],
                cwd=folder_in(environment.workspace, os.getcwd()),
                env={**passed, **(terminal_environment(environment.preset) if terminal else {})},
                tty=terminal,
                rows=size.lines,
                cols=size.columns,
            )
            return await attach(session)


def folder_in(workspace: str, here: str) -> str:
    """The folder that a shell begins in: where the person is, if that is in the project, else the project's own."""
    return here if inside(here, workspace) else workspace


def terminal_environment(preset: str) -> dict[str, str]:
    """Return the variables about the person's terminal, and a prompt that names the environment."""
    known = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    return {"PS1": f"({preset}) \\w \\$ "} | known


SHELL = "if command -v bash >/dev/null; then exec bash -i; else exec sh -i; fi"
"""bash where the image has one."""
