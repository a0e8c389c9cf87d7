"""The base of every command: configuration, arguments, the use cases, errors, Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from jupyter_core.application import JupyterApp
from traitlets import TraitError

from ..config import MlenvConfig
from ..environments.model import Environment, State
from ..errors import JobCancelled, MlenvError
from ..workers import off_loop
from . import arguments as usage
from . import output

if TYPE_CHECKING:
    from ..environments import Environments
    from ..environments.job import Job

EXIT_CANCELLED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""

CONFIG_HELP = """\
Every setting can be given as --MlenvConfig.NAME=VALUE, or in jupyter_mlenv_config.py in a Jupyter configuration
directory (`jupyter --paths`); what jupyter_server_config.py sets counts too. `--help-all` lists them."""


class Command(JupyterApp):
    """One subcommand: subclasses say what it takes (`arguments`) and what it does (`run`)."""

    version = ""  # `jupyter mlenv version` tells it; here the option would only hide the command's own
    examples = ""
    aliases: dict[str, Any] = {}  # noqa: RUF012  (traitlets wants a plain dictionary)
    flags: dict[str, Any] = {}  # noqa: RUF012
    classes = [MlenvConfig]  # noqa: RUF012  (a traitlets list)
    takes_command = False  # whether `-- COMMAND …` may follow

    def arguments(self, parser: usage.Parser) -> None:
        """Add what this command takes."""

    async def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status. Raises MlenvError."""
        raise NotImplementedError

    def _config_file_name_default(self) -> str:
        return "jupyter_mlenv_config"

    def _log_level_default(self) -> int:
        return 30  # logging.WARNING: what a command has to say it prints

    def _find_subcommand(self, name: str) -> str:
        return ""  # an environment's name is no program on PATH

    def parse_command_line(self, argv: Any = None) -> None:
        """Split the line: settings for traitlets, the rest for argparse, what follows `--` for the container."""
        self.parser = self._make_parser()
        line = list(argv or ())
        cut = line.index("--") if "--" in line else len(line)
        traits, own = usage.split_traits(line[:cut])
        if "--help-all" in own:
            print(self.parser.format_help())
            print("\n".join(cls.class_get_help() for cls in self.classes))
            self.exit(0)
        self.args = self.parser.parse(own)
        self.args.command = line[cut + 1 :]
        if self.args.command and not self.takes_command:
            self.parser.error(f"nothing can follow --, but there is: {' '.join(self.args.command)}")
        traits += self.args.traits
        known = [c for cls in self.classes for c in cls.mro() if hasattr(c, "class_trait_names")]
        for token in traits:
            if why := usage.unknown_trait(token, known):
                self.parser.error(f"{token.split('=')[0]}: {why}")
        super().parse_command_line(traits)

    def load_config_file(self, suppress_errors: bool = True) -> None:  # type: ignore[override]  # as JupyterApp has it
        """The server's settings first: server and command line must mean the same environments."""
        given, self.config_file_name = self.config_file_name, "jupyter_server_config"
        if not self.config_file:
            super().load_config_file(suppress_errors)
        elif not os.path.exists(self.config_file):
            self.parser.error(f"there is no configuration file {self.config_file}")
        self.config_file_name = given
        super().load_config_file(suppress_errors)

    def _make_parser(self) -> usage.Parser:
        examples = f"examples:\n{self.examples}\n\n" if self.examples else ""
        parser = usage.Parser(
            prog=self.name.replace("-", " "), description=self.description, epilog=examples + CONFIG_HELP
        )
        self.arguments(parser)
        # The options that every command has would hide the ones that matter.
        parser.usage = parser.usage or parser.format_usage().removeprefix("usage: ").replace(" [-h]", "", 1).strip()
        jupyter = parser.add_argument_group("Jupyter options")
        for option, metavar, trait, what in (
            ("--config", "FILE", "JupyterApp.config_file", "read this configuration file instead"),
            ("--log-level", "LEVEL", "Application.log_level", "what is logged: DEBUG, INFO, WARN (the default), ERROR"),
        ):
            jupyter.add_argument(
                option,
                metavar=metavar,
                dest="traits",
                action="append",
                type=lambda value, trait=trait: f"--{trait}={value}",  # type: ignore[misc]
                help=what,
            )
        for option, value, what in (
            ("--debug", "--Application.log_level=DEBUG", "log everything"),
            ("--show-config", "--Application.show_config=True", "show the settings that are in force, and do nothing"),
        ):
            jupyter.add_argument(option, dest="traits", action="append_const", const=value, help=what)
        jupyter.add_argument("--help-all", action="store_true", help="also list every setting")
        parser.set_defaults(traits=[])
        return parser

    def start(self) -> None:
        """Run the command and exit with its status."""
        super().start()
        self.exit(self._status())

    def _status(self) -> int:
        try:
            return run_cancellable(self.run(self.args))
        except TraitError as error:
            self.parser.error(str(error))
        except MlenvError as error:
            if getattr(self.args, "json", False):
                output.write_json(error.to_json())
            output.write_error(error)
            return EXIT_CANCELLED if isinstance(error, JobCancelled) else 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            output.write("Cancelled.", stream=sys.stderr)
            return EXIT_CANCELLED

    @asynccontextmanager
    async def environments(self) -> AsyncIterator[Environments]:
        """The use cases, closed again at the end; a job that is still running then is cancelled and cleans up."""
        from ..environments import Environments  # noqa: PLC0415  (not for --help)
        from ..environments.jobs import Jobs  # noqa: PLC0415

        config = MlenvConfig(parent=self)
        environments = Environments(config.engine(), config.settings(root_dir=""), Jobs())
        try:
            yield environments
        finally:
            await environments.close()


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs: the objects of the REST API")


def add_ids(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The argument ID, or several."""
    parser.add_argument(
        "ids" if nargs else "id",
        metavar="ID",
        nargs=nargs,
        help="an environment's id, its unique beginning, or a preset's name if there is one of that preset",
    )


async def here(environments: Environments, given: str = "", preset: str = "") -> str:
    """The project folder: `given`, else what the current directory belongs to.

    With a preset, a running environment of it that contains the current directory decides. Raises WorkspaceNotFound,
    WorkspaceForbidden.
    """
    from .. import workspaces  # noqa: PLC0415

    if given:
        return await off_loop(workspaces.check, given, environments.settings)
    there = await environments.known() if preset else []
    running = [e.workspace for e in there if e.preset == preset and e.state is State.RUNNING]
    return await off_loop(workspaces.find, os.getcwd(), environments.settings, running)


async def find(environments: Environments, words: Sequence[str]) -> list[Environment]:
    """The environments meant by what a person typed, each once; see `resolve.resolve` for what is raised."""
    from .resolve import resolve  # noqa: PLC0415

    there = await environments.list()
    workspace = ""
    with contextlib.suppress(MlenvError):
        # It only breaks a tie, so standing in a forbidden folder is no reason to fail.
        workspace = await here(environments)
    return list({e.id: e for e in (resolve(word, there, workspace) for word in words)}.values())


async def follow(job: Job, *, quiet: bool = False) -> Environment:
    """Show the job until it has ended. Raises its error, with the end of its log if the error carries none.

    Cancelled itself (Ctrl-C), it cancels the job and waits until that has cleaned up.
    """
    from .progress import display  # noqa: PLC0415

    try:
        with display(quiet=quiet) as shown:
            async for progress, lines in job.follow():
                shown.progress(progress)
                for line in lines:
                    shown.log(line)
        return await job.wait()
    except asyncio.CancelledError:
        output.write("Cancelling …", stream=sys.stderr)
        job.cancel()
        with contextlib.suppress(MlenvError, asyncio.CancelledError):
            await job.wait()
        raise
    except MlenvError as error:
        if not error.log:
            error.log = tuple(job.since(job.lines - output.LOG_TAIL_LINES)[1])
        raise


def run_cancellable(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end. The first SIGINT or SIGTERM cancels `work`, which may clean up; a second one kills.

    Raises asyncio.CancelledError after a cancel.
    """

    async def main() -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def cancel() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel)
        try:
            return await task
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    return asyncio.run(main())
