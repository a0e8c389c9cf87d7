"""`doctor`: looks at everything an environment needs, in order, and says what to do about each problem."""

from __future__ import annotations

import argparse
import contextlib

from ...errors import MlenvError
from .. import output
from ..command import Command, add_json, here
from . import engine_checks, host_checks
from .host_checks import Check

STYLES = {"ok": "green", "info": "bright_black", "warning": "yellow", "problem": "bold red"}


class DoctorCommand(Command):
    name = "jupyter-mlenv-doctor"
    description = """\
Check this machine: Python and Jupyter, the engine, a container that really starts, GPU, presets, registries. For
each problem it says what to do. The exit status is 1 if something is broken."""
    examples = "  jupyter mlenv doctor\n  jupyter mlenv doctor --json"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        found: list[Check] = []

        def report(*checked: Check) -> None:
            found.extend(checked)
            for check in () if args.json else checked:
                write_check(check)

        report(*host_checks.python(), *host_checks.jupyter())
        async with self.environments() as environments:
            findings, facts = await engine_checks.engine(environments, environments.engine.origin())
            report(*findings)
            if facts is not None and (storage := await environments.engine.storage()):
                report(host_checks.disk(storage))
            report(*host_checks.run_directory(environments.settings))
            report(*host_checks.proxies(environments.settings))
            workspace = ""
            with contextlib.suppress(MlenvError):  # standing in a forbidden folder is no finding about this machine
                workspace = await here(environments)
            if facts is not None:
                await environments.sweep()
                report(*await engine_checks.container(environments, workspace))
                report(await engine_checks.gpu(environments))
                report(*await engine_checks.old_jupyters(environments))
                report(*await engine_checks.unused(environments, workspace))
            presets, invalid = await environments.presets(workspace)
            report(*host_checks.presets(presets, invalid), *host_checks.aliases(environments.settings))
            if facts is not None:
                aliases = environments.settings.image_aliases
                report(*await engine_checks.registries(host_checks.registries([p.image for p in presets], aliases)))
        problems = sum(check.status == "problem" for check in found)
        warnings = sum(check.status == "warning" for check in found)
        if args.json:
            output.write_json({"ok": not problems, "checks": found})
        elif problems:
            output.write(f"\n{problems} problem{'s' if problems > 1 else ''} found.", style="bold red")
        else:
            output.write("\nNothing is broken." if warnings else "\nAll is well.", style="green")
        return 1 if problems else 0


def write_check(check: Check) -> None:
    """One finding: a line, and what to do below it."""
    output.write(f"{check.status:<8} {check.name:<17} {check.message}", style=STYLES[check.status])
    if check.hint:
        output.write(f"{'':<8} {'':<17} → {check.hint}")
