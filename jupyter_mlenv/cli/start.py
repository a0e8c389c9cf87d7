"""`start`: the environment of a preset for a project, made or reused."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..environments.model import Environment
from ..errors import ConsentRequired
from ..planning.model import StartRequest
from ..presets import loader
from . import arguments as usage
from . import output
from .agree import ask
from .command import Command, add_json, follow, here

if TYPE_CHECKING:
    from ..environments import Environments
    from ..environments.job import Job


class StartCommand(Command):
    name = "jupyter-mlenv-start"
    description = """\
Start the environment of a preset for the project in this folder. If it is there already it is reused, so a
second start is quick. The project's folder is mounted at the same path."""
    examples = """\
  jupyter mlenv start python
  jupyter mlenv start pytorch-gpu --gpu 1 --memory 16g
  jupyter mlenv start python --name second --mount ~/data:/data:ro"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("preset", metavar="PRESET", help="a name from `jupyter mlenv presets`")
        parser.add_argument(
            "--workspace",
            metavar="DIR",
            default="",
            help="the project folder (default: the project that this folder belongs to)",
        )
        parser.add_argument(
            "--name", default="", help="a name, for a second environment of the same preset and project"
        )
        parser.add_argument(
            "--gpu", metavar="GPU", type=usage.gpus, default=None, help="all, none, how many, or device=0,1"
        )
        parser.add_argument(
            "--mount",
            metavar="HOST[:TARGET[:ro]]",
            type=usage.mount,
            action="append",
            default=[],
            help="one more folder or file that it sees, by default at the same path; may be repeated",
        )
        parser.add_argument(
            "--cpus", metavar="N", type=usage.cores, default=None, help="processor cores, e.g. 2 or 1.5"
        )
        parser.add_argument("--memory", metavar="SIZE", type=usage.memory, default=None, help="e.g. 8g or 512m")
        parser.add_argument("--recreate", action="store_true", help="make it anew, without what was installed in it")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            request = StartRequest(
                preset=args.preset,
                workspace=await here(environments, args.workspace, args.preset),
                name=args.name,
                gpus=args.gpu,
                memory=args.memory,
                cpus=args.cpus,
                mounts=tuple(args.mount),
                recreate=args.recreate,
            )
            _, job = await agreed_start(environments, request)
            environment = await follow(job, quiet=args.json)
        show_started(environment, as_json=args.json)
        for note in () if args.json else job.notes:
            output.write(f"Note: {note}", style="yellow")
        return 0


async def agreed_start(environments: Environments, request: StartRequest) -> tuple[Environment, Job]:
    """Start it; a project's preset that nobody has agreed to is asked about first, where there is a terminal."""
    try:
        return await environments.start(request)
    except ConsentRequired:
        presets, broken = await environments.presets(request.workspace)
        await ask(environments, loader.find(request.preset, presets, broken))
    return await environments.start(request)


def show_started(environment: Environment, *, as_json: bool) -> None:
    """Print what has been started, and the commands to use it with."""
    if as_json:
        output.write_json(environment.to_json())
        return
    output.write(f"{environment.id} is {environment.state.value}", style="green")
    output.write(f"  project  {output.short_path(environment.workspace)}")
    for endpoint in environment.endpoints:
        output.write(f"  open     jupyter mlenv open {environment.id} {endpoint.name}")
    output.write(f"  shell    jupyter mlenv shell {environment.id}")
    for warning in environment.warnings:
        output.write(f"Warning: {warning}", style="yellow")
    if environment.outdated:
        output.write(
            "Note: it was made from an older state of the preset. "
            "To make it anew, without what was installed in it: "
            f"jupyter mlenv start {environment.preset} --recreate",
            style="yellow",
        )
