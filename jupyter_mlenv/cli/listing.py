"""`presets`, `list` and `version`: what there is."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .._version import __version__
from ..engines.base import NO_ENGINE
from ..environments.model import Environment, State
from ..errors import MlenvError, PresetInvalid, WorkspaceForbidden
from ..presets.model import Preset
from . import output
from .command import Command, add_json, here
from .output import Cell, Table

if TYPE_CHECKING:
    from ..agent_client import ListeningPort
    from ..environments import Environments

STATE_STYLE = {
    State.RUNNING: "green",
    State.STARTING: "yellow",
    State.PENDING: "yellow",
    State.STOPPED: "bright_black",
    State.FAILED: "red",
}


class ListCommand(Command):
    name = "jupyter-mlenv-list"
    description = "Your environments: id, state, project folder, and what can be opened in them."
    examples = "  jupyter mlenv list\n  jupyter mlenv list --json"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            found = await environments.list()
            ports = {} if args.json else await listening(environments, found)
        if args.json:
            output.write_json([environment.to_json() for environment in found])
        elif found:
            output.write_table(environments_table(found, ports=ports))
        else:
            output.write("There are no environments yet. Start one: jupyter mlenv start PRESET")
            output.write("`jupyter mlenv presets` shows what can be started.", style="dim")
        return 0


class PresetsCommand(Command):
    name = "jupyter-mlenv-presets"
    description = "What can be started for the project in this folder, and where each preset comes from."
    examples = "  jupyter mlenv presets"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--workspace", metavar="DIR", default="", help="the project folder (default: found from here)"
        )
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            try:
                workspace = await here(environments, args.workspace)
            except WorkspaceForbidden:
                # Presets are worth seeing where none may be started, such as in the home directory.
                workspace = ""
            presets, broken = await environments.presets(workspace)
            ready: Mapping[str, bool | None] = {}
            missing: MlenvError | None = None
            try:
                ready = await environments.ready(presets, workspace)
            except NO_ENGINE as error:
                missing = error
        if args.json:
            output.write_json([preset.to_json(ready.get(preset.name)) for preset in presets])
        else:
            output.write_table(presets_table(presets, ready))
            for preset in presets:
                if preset.consent:
                    output.write(f"\n{preset.name} comes with the project, and is used once you have agreed to it:")
                    output.write(f"  jupyter mlenv agree {shlex.quote(preset.consent.folder)}")
        for line in broken_lines(broken):
            output.write(line, style="yellow", stream=sys.stderr if args.json else sys.stdout)
        if missing:
            output.write(f"\nNothing can be started now. {missing.message}", style="yellow", stream=sys.stderr)
            output.write("See `jupyter mlenv doctor`.", stream=sys.stderr)
        return 0


class VersionCommand(Command):
    name = "jupyter-mlenv-version"
    description = "The versions of jupyter_mlenv, Python, JupyterLab and the engine."

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        versions: dict[str, str | None] = {"jupyter_mlenv": __version__, "python": sys.version.split()[0]}
        for package in ("jupyterlab", "jupyter_server"):
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                versions[package] = None
        try:
            async with self.environments() as environments:
                facts = await environments.engine.facts()
            versions[facts.kind] = facts.version
        except NO_ENGINE:
            versions["engine"] = None
        if args.json:
            output.write_json(versions)
        else:
            for name, number in versions.items():
                output.write(f"{name:<14} {number or 'none found'}")
        return 0


def presets_table(presets: Sequence[Preset], ready: Mapping[str, bool | None]) -> Table:
    """The table of `jupyter mlenv presets`."""
    table = Table(("PRESET", "TITLE", "GPU", "READY", "IMAGE", "FROM"))
    for preset in presets:
        there = ready.get(preset.name)
        table.add(
            Cell(preset.name, "bold"),
            preset.title,
            Cell("GPU", "magenta") if preset.gpu else "",
            Cell({True: "yes", False: "no", None: "?"}[there], "green" if there else "bright_black"),
            preset.image.origin,
            Cell("built in" if preset.source == "catalog" else output.short_path(preset.source), "bright_black"),
        )
    return table


def broken_lines(broken: Sequence[PresetInvalid]) -> list[str]:
    """Return the lines about preset files that cannot be used: where, why, what is allowed."""
    lines = ["", "Preset files that cannot be used:"] if broken else []
    for error in broken:
        file, number = error.details.get("file", ""), error.details.get("line")
        # As compilers write places, so that editors and terminals can jump there.
        place = output.short_path(os.fspath(file)) + (f":{number}" if number else "")
        said = error.message.replace(f" in {file} line {number}", "")
        lines += [f"  {place}: {said}" if place else f"  {said}"] + ([f"    {error.hint}"] if error.hint else [])
    return lines


def uptime(environment: Environment, now: datetime | None = None) -> str:
    """`up 3 h` for one that runs, else when it was made."""
    if environment.state is State.RUNNING and environment.started:
        return f"up {output.age(environment.started, now)}"
    return f"made {output.age(environment.created, now)} ago" if environment.created else ""


async def listening(environments: Environments, found: Iterable[Environment]) -> dict[str, Sequence[ListeningPort]]:
    """By id, what listens in those that run; those whose agent is in trouble tell none."""

    async def ask(id: str) -> Sequence[ListeningPort]:
        try:
            return await environments.ports(id)
        except MlenvError:
            return ()

    ids = [environment.id for environment in found if environment.state is State.RUNNING]
    return dict(zip(ids, await asyncio.gather(*map(ask, ids)), strict=True))


def environments_table(
    environments: Iterable[Environment],
    now: datetime | None = None,
    *,
    ports: Mapping[str, Sequence[ListeningPort]] | None = None,
) -> Table:
    """The table of `jupyter mlenv list`."""
    table = Table(("ID", "PRESET", "STATE", "WORKSPACE", "SINCE", "ENDPOINTS"))
    for e in environments:
        state = e.state.value
        if e.oom_killed:
            state += " (out of memory)"
        elif e.state is State.FAILED and e.exit_code is not None:
            state += f" (exit {e.exit_code})"
        if e.outdated:
            state += ", outdated"
        table.add(
            Cell(e.id, "bold"),
            e.preset + (f" ({e.name})" if e.name else ""),
            Cell(state, STATE_STYLE[e.state]),
            output.short_path(e.workspace),
            uptime(e, now),
            ", ".join([*(endpoint.name for endpoint in e.endpoints), *map(_shown, (ports or {}).get(e.id, ()))]),
        )
    return table


def _shown(one: ListeningPort) -> str:
    return f"{one.port} ({one.name})" if one.name else str(one.port)
