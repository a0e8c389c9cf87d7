"""`prune`: room on the disk, without an environment being lost."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from ..errors import MlenvError
from . import output
from .command import Command, add_json, here
from .question import can_ask, yes

if TYPE_CHECKING:
    from ..environments.prune import Pruned, Unused

QUESTION = "Remove all of it? Environments stay, also those that are stopped."
NOTHING = "There is nothing to remove."


class PruneCommand(Command):
    name = "jupyter-mlenv-prune"
    description = (
        "Remove what nothing needs any more: images that no preset means and no environment is made from, what kernels "
        "with an environment of their own have left, and run directories without a container. Environments stay, also "
        "those that are stopped."
    )
    examples = "  jupyter mlenv prune              show it, and ask\n  jupyter mlenv prune --cache --yes"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
        parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
        parser.add_argument(
            "--cache",
            action="store_true",
            help="also empty the engine's build cache, which is everybody's; the next builds take longer",
        )
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        if not (args.yes or args.dry_run or can_ask()):
            self.parser.error("there is no terminal to ask on; say --yes to remove without a question, or --dry-run")
        async with self.environments() as environments:
            workspace = ""
            with contextlib.suppress(MlenvError):  # standing in a forbidden folder only means no project's presets
                workspace = await here(environments)
            unused = await environments.unused(workspace)
            anything = bool(unused.images or unused.environments or (args.cache and unused.cache))
            if not args.json:
                show(unused, cache=args.cache)
            if args.dry_run:
                if args.json:
                    output.write_json(as_json(unused, cache=unused.cache))
                elif not anything:
                    output.write(NOTHING, style="green")
                return 0
            if anything and not args.yes and not yes(QUESTION):
                output.write("Nothing was removed.", stream=sys.stderr)
                return 1
            pruned = await environments.prune(unused, cache=args.cache)
        if args.json:
            output.write_json({**as_json(pruned, cache=pruned.cache), "run_directories": list(pruned.run_directories)})
        else:
            tell(pruned)
        return 0


def show(unused: Unused, *, cache: bool) -> None:
    """Show what would go, the largest first."""
    for image in unused.images:
        age = f", {output.age(image.created)} old" if image.created else ""
        output.write(f"  image  {' '.join(image.names)}  up to {output.size(image.size)}, of {image.preset}{age}")
    for environment in unused.environments:
        output.write(f"  left by a kernel  {environment.id}  {output.short_path(environment.workspace)}")
    if unused.cache and cache:
        output.write(f"  build cache  {output.size(unused.cache)}, of all builds on this engine")
    elif unused.cache:
        output.write(f"The engine's build cache holds {output.size(unused.cache)}; with --cache it is emptied too.")


def tell(pruned: Pruned) -> None:
    """Say what is gone."""
    counts = (
        (len(pruned.images), "image"),
        (len(pruned.environments), "leftover of a kernel"),
        (len(pruned.run_directories), "run directory"),
    )
    words = [f"{count} × {what}" for count, what in counts if count]
    words += [f"{output.size(pruned.cache)} of the build cache"] if pruned.cache else []
    output.write(f"Removed: {', '.join(words)}." if words else NOTHING, style="green")


def as_json(found: Unused | Pruned, *, cache: int) -> dict[str, Any]:
    """The object of `--json`; sizes in bytes."""
    images = [{"names": list(i.names), "preset": i.preset, "size": i.size} for i in found.images]
    return {"images": images, "environments": [e.id for e in found.environments], "build_cache": cache}
