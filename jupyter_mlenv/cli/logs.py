"""`logs`: what an environment, or one of its services, has printed."""

from __future__ import annotations

import argparse
import sys

from ..errors import EndpointNotFound
from . import arguments as usage
from . import output
from .command import Command, add_ids, add_json, find


class LogsCommand(Command):
    name = "jupyter-mlenv-logs"
    description = "What an environment has printed, or with --service one of its services, such as its JupyterLab."
    examples = "  jupyter mlenv logs python -f\n  jupyter mlenv logs python --service notebook --tail 50"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        add_ids(parser)
        parser.add_argument("-f", "--follow", action="store_true", help="go on with what it prints from now on")
        parser.add_argument(
            "--tail", metavar="N", type=usage.count, default=200, help="the last N lines (default: 200)"
        )
        parser.add_argument("--service", metavar="NAME", default="", help="only this endpoint's service, e.g. notebook")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        if args.follow and (args.json or args.service):
            self.parser.error("-f follows the whole log as text: leave out " + ("--json" if args.json else "--service"))
        async with self.environments() as environments:
            (environment,) = await find(environments, [args.id])
            if args.service:
                agent = await environments.agent(environment.id)
                # One service runs per address under which a browser sees it, so there may be several of a name.
                keys = [s.key for s in await agent.services.list() if s.key.rpartition("-")[0] == args.service]
                if not keys:
                    raise EndpointNotFound(
                        f"No service {args.service!r} has been started in {environment.id}.",
                        hint=f"Open it first: jupyter mlenv open {environment.id} {args.service}",
                    )
                lines = [line for key in keys for line in await agent.services.log(key, tail=args.tail)]
            else:
                lines, silent = [], True
                async for line in environments.logs(environment.id, tail=args.tail, follow=args.follow):
                    silent = False
                    if args.json:
                        lines.append(line)
                    else:
                        output.write_log(line)
                if silent and not args.json:
                    output.write(f"{environment.id} has printed nothing yet.", stream=sys.stderr)
        if args.json:
            output.write_json({"lines": lines})
        else:
            for line in lines:
                output.write_log(line)
        return 0
