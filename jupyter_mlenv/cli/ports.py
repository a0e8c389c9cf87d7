"""`ports`: the web apps and other programs of an environment that listen on a port."""

from __future__ import annotations

import argparse

from . import output
from .command import Command, add_ids, add_json, find
from .output import Cell, Table


class PortsCommand(Command):
    name = "jupyter-mlenv-ports"
    description = "What listens on a port in an environment, such as a Streamlit app that you have started there."
    examples = "  jupyter mlenv ports python\n  jupyter mlenv open python 8501"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser)
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            (environment,) = await find(environments, [args.id])
            ports = await environments.ports(environment.id)
        if args.json:
            output.write_json({"ports": [{"port": one.port, "name": one.name} for one in ports]})
            return 0
        if not ports:
            output.write(f"Nothing listens on a port in {environment.id}, besides its endpoints and kernels.")
            return 0
        table = Table(("PORT", "PROGRAM"))
        for one in ports:
            table.add(Cell(str(one.port), "bold"), one.name)
        output.write_table(table)
        output.write(f"To open one: jupyter mlenv open {environment.id} {ports[0].port}", style="dim")
        return 0
