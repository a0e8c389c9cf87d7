"""`base`: a base image from Debian's packages."""

from __future__ import annotations

import argparse

from ..engines.model import Progress
from . import output
from .command import Command, add_json
from .progress import display


class BaseCommand(Command):
    name = "jupyter-mlenv-base"
    description = """\
Make a base image from Debian's packages, for machines that reach no image registry. Presets are built on it
through an alias. It needs root, debootstrap, about 1 GB of disk and a minute."""
    examples = """\
  sudo "$(command -v jupyter)" mlenv base
  jupyter mlenv start python --MlenvConfig.image_aliases="{'docker.io/library/python': 'mlenv/base:bookworm'}\""""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        from ..images.debootstrap import MIRROR, REFERENCE, SUITE  # noqa: PLC0415

        parser.add_argument(
            "--reference", metavar="NAME:TAG", default=REFERENCE, help=f"its name (default: {REFERENCE})"
        )
        parser.add_argument("--suite", default=SUITE, help=f"the Debian release (default: {SUITE})")
        parser.add_argument(
            "--mirror", metavar="URL", default="", help=f"the package mirror (default: this machine's, else {MIRROR})"
        )
        parser.add_argument(
            "--include", metavar="PACKAGE", action="append", default=[], help="one more Debian package; may be repeated"
        )
        parser.add_argument("--rebuild", action="store_true", help="make it even if it is there already")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        from ..images.debootstrap import make  # noqa: PLC0415

        async with self.environments() as environments:
            with display(quiet=args.json) as shown:
                shown.progress(Progress("build", "Making the base image"))
                image = await make(
                    environments.engine,
                    shown,
                    reference=args.reference,
                    suite=args.suite,
                    mirror=args.mirror,
                    include=args.include,
                    rebuild=args.rebuild,
                )
        if args.json:
            output.write_json(image)
        else:
            output.write(f"{args.reference} is on the engine ({output.size(image.size)})", style="green")
        return 0
