"""`jupyter mlenv`: finds the command and hands over to it. A command's module is imported only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from jupyter_core.application import JupyterApp, NoStart

from .._version import __version__
from . import arguments

COMMANDS = {
    "presets": ("listing.PresetsCommand", "what can be started here"),
    "list": ("listing.ListCommand", "your environments and their state"),
    "start": ("start.StartCommand", "start the environment of a preset for this project, or reuse it"),
    "agree": ("agree.AgreeCommand", "see what a project's own preset would run, and agree to it"),
    "stop": ("manage.StopCommand", "stop environments; what is installed in them stays"),
    "restart": ("manage.RestartCommand", "stop and start environments, or start stopped ones"),
    "rm": ("manage.RemoveCommand", "remove environments; the files of the project stay"),
    "prune": ("prune.PruneCommand", "remove images and other things that nothing needs any more"),
    "ports": ("ports.PortsCommand", "what listens on a port in an environment"),
    "logs": ("logs.LogsCommand", "what an environment, or one of its services, has printed"),
    "shell": ("shell.ShellCommand", "a shell, or one command, inside an environment"),
    "open": ("open.OpenCommand", "open JupyterLab, TensorBoard or a port of an environment in the browser"),
    "kernels": ("kernels.KernelsCommand", "the kernels of presets in the kernel menu: add, list, remove"),
    "doctor": ("doctor.command.DoctorCommand", "check this machine, and say what to do about each problem"),
    "base": ("base_image.BaseCommand", "make a base image from Debian's packages, with no image registry"),
    "version": ("listing.VersionCommand", "the versions of jupyter_mlenv and what it runs on"),
}

DESCRIPTION = """\
ML environments in containers: a preset and your project folder become a JupyterLab, a TensorBoard and a shell
inside a container that sees your files at the same path."""

EXAMPLES = """\
  jupyter mlenv presets                 what can be started
  jupyter mlenv start python            start the preset `python` for the project in this folder
  jupyter mlenv open python             open its JupyterLab in the browser
  jupyter mlenv shell python            a shell inside it
  jupyter mlenv doctor                  if something does not work"""


class MlenvApp(JupyterApp):
    """The dispatcher."""

    name = "jupyter-mlenv"
    version = __version__
    description = DESCRIPTION
    aliases: dict[str, Any] = {}  # noqa: RUF012  (traitlets wants a plain dictionary)
    flags: dict[str, Any] = {}  # noqa: RUF012
    subcommands = {  # noqa: RUF012  (a traitlets dictionary)
        name: (f"jupyter_mlenv.cli.{where}", what) for name, (where, what) in COMMANDS.items()
    }

    def parse_command_line(self, argv: Any = None) -> None:
        """Hand over to a command; anything else is wrong usage, except a question for help or the version."""
        line = [str(word) for word in argv or ()]
        first = line[0] if line else ""
        if first not in self.subcommands and first not in ("help", "-h", "--help", "--help-all", "--version", "-V"):
            self._refuse(first)
        if first == "help":
            if len(line) > 1 and line[1] not in self.subcommands:
                self._refuse(line[1])
            line = [*line[1:2], "--help"]
        super().parse_command_line(line)

    def print_help(self, classes: bool = False) -> None:
        """The commands, each with a line; `COMMAND --help` says the rest."""
        print("\n".join(help_lines()))

    def _refuse(self, word: str) -> None:
        if not word:
            print("\n".join(help_lines()), file=sys.stderr)
        else:
            kind = "option" if word.startswith("-") else "command"
            guess = arguments.nearest(word, self.subcommands)
            print("usage: jupyter mlenv COMMAND …", file=sys.stderr)
            print(f"error: there is no {kind} {word}" + (f"; did you mean {guess}?" if guess else ""), file=sys.stderr)
            print("See `jupyter mlenv --help`.", file=sys.stderr)
        self.exit(arguments.EXIT_USAGE)


def help_lines() -> list[str]:
    """The help of `jupyter mlenv`."""
    width = max(map(len, COMMANDS))
    return [
        "usage: jupyter mlenv COMMAND …",
        "",
        DESCRIPTION,
        "",
        "commands:",
        *(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()),
        "",
        "examples:",
        EXAMPLES,
        "",
        "`jupyter mlenv COMMAND --help` explains a command. They need no Jupyter server.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `jupyter mlenv`; returns the exit status 0 (done), 1 (failed), 2 (wrong usage) or 130 (cancelled)."""
    app = MlenvApp()
    try:
        app.initialize(list(sys.argv[1:] if argv is None else argv))
        app.start()
    except NoStart:
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain once more when it flushes at exit.
        sys.stdout = None
        return 0
    finally:
        if app.subapp is not None:
            type(app.subapp).clear_instance()
    return 0


if __name__ == "__main__":
    sys.exit(main())
