"""`kernels add`, `kernels list`, `kernels remove`: what the kernel menu of Jupyter and its tools shows."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jupyter_core.paths import jupyter_data_dir, jupyter_path

from ..errors import MlenvError, NotFound
from ..kernels import kernelspec, kernelspec_store
from ..presets import loader
from ..presets.model import Preset
from . import output
from .agree import ask
from .command import Command, add_json, here
from .output import Table

if TYPE_CHECKING:
    from ..environments import Environments


class KernelsCommand(Command):
    name = "jupyter-mlenv-kernels"
    description = """\
Kernels of presets, for notebooks in JupyterLab, `jupyter nbconvert --execute`, papermill and all else that starts
kernels. A Jupyter server keeps one for each preset whose image is ready (--MlenvConfig.auto_kernels=False turns
that off); these commands add and remove them by hand. A kernel runs in the environment of the notebook's
project, which is started if it is not running."""
    examples = """\
  jupyter mlenv kernels add pytorch
  jupyter mlenv kernels add pytorch --sys-prefix         for everybody who uses this Python
  jupyter mlenv kernels add python --workspace ~/tool    always in the environment of that project
  jupyter mlenv kernels list
  jupyter mlenv kernels remove mlenv-pytorch"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("verb", choices=("add", "list", "remove"), help="what to do")
        parser.add_argument(
            "names",
            metavar="NAME",
            nargs="*",
            help="add: presets, as `jupyter mlenv presets` has them; remove: kernels, as `list` has them, or presets",
        )
        place = parser.add_mutually_exclusive_group()
        place.add_argument("--user", action="store_true", help="yours alone (the default of `add`)")
        place.add_argument("--sys-prefix", action="store_true", help="of everybody who uses this Python")
        place.add_argument("--prefix", metavar="DIR", default="", help="below DIR/share/jupyter, e.g. /usr/local")
        parser.add_argument(
            "--workspace", metavar="DIR", default="", help="add: run in the environment of this project, always"
        )
        parser.add_argument("--name", default="", help="add: run in the environment of this name")
        parser.add_argument("--display-name", metavar="TEXT", default="", help="add: what the kernel menu says")
        parser.add_argument("--all", action="store_true", help="remove: every kernel of ours, as before an uninstall")
        add_json(parser)

    async def run(self, args: argparse.Namespace) -> int:
        if args.verb == "list":
            if args.names:
                self.parser.error(f"one argument too many: {args.names[0]}")
            return self._list(args)
        if args.all and (args.verb == "add" or args.names):
            self.parser.error("--all goes with remove, and with no NAME")
        if not args.names and not args.all:
            self.parser.error(f"missing: NAME, {'a preset' if args.verb == 'add' else 'a kernel'}")
        return await self._add(args) if args.verb == "add" else self._remove(args)

    async def _add(self, args: argparse.Namespace) -> int:
        async with self.environments() as environments:
            workspace = await here(environments, args.workspace) if args.workspace else ""
            presets, broken = await environments.presets(workspace)
            chosen = [loader.find(name, presets, broken) for name in args.names]
            for preset in chosen:
                await ask(environments, preset)
            ready = await _ready(environments, chosen, workspace)
        added = []
        for preset in chosen:
            name = kernelspec.spec_name(preset.name, args.name)
            title = args.display_name or (kernelspec.menu_name(preset, args.name) if args.name else "")
            content = kernelspec.kernel_json(preset, workspace=workspace, name=args.name, display_name=title)
            path = kernelspec_store.write(_folder(args), name, content, preset.icon)
            about = {"name": name, "preset": preset.name, "display_name": content["display_name"], "path": str(path)}
            added.append({**about, "ready": ready.get(preset.name)})
        if args.json:
            output.write_json(added)
        else:
            for one in added:
                output.write(f"{one['name']} is in the kernel menu as {one['display_name']!r}", style="green")
                output.write(f"  {output.short_path(one['path'])}")
                if one["ready"] is False:
                    output.write(f"  Its image is not ready yet. This makes it: jupyter mlenv start {one['preset']}")
        return 0

    def _list(self, args: argparse.Namespace) -> int:
        there = [
            one for folder in kernelspec_store.folders(jupyter_path()) for one in kernelspec_store.installed(folder)
        ]
        if args.json:
            output.write_json(
                [
                    {
                        "name": one.name,
                        "preset": one.preset,
                        "display_name": one.spec.get("display_name", ""),
                        "automatic": one.automatic,
                        "broken": one.broken,
                        "path": str(one.path),
                    }
                    for one in there
                ]
            )
        elif there:
            rows: list[Sequence[output.Cell | str]] = [
                (
                    one.name,
                    "broken" if one.broken else one.preset,
                    "server" if one.automatic else "you",
                    output.short_path(str(one.path)),
                )
                for one in there
            ]
            output.write_table(Table(("KERNEL", "PRESET", "ADDED BY", "FOLDER"), rows))
        else:
            output.write("There are no kernels of presets yet. Add one: jupyter mlenv kernels add PRESET")
        return 0

    def _remove(self, args: argparse.Namespace) -> int:
        chosen = args.user or args.sys_prefix or args.prefix
        folders = [_folder(args)] if chosen else kernelspec_store.folders(jupyter_path())
        removed = []
        for word in args.names or list(_everything(folders)):
            found = [
                (folder, one.name)
                for folder in folders
                for one in kernelspec_store.installed(folder)
                if one.name in (word, kernelspec.spec_name(word))
            ]
            if not found:
                places = ", ".join(output.short_path(folder) for folder in folders)
                raise NotFound(
                    f"There is no kernel {word} of jupyter mlenv in {places}.", hint="See: jupyter mlenv kernels list"
                )
            # One that a person has hides one of the system's; without a place named, the one that counts goes.
            folder, name = found[0]
            kernelspec_store.remove(folder, name)
            removed.append({"name": name, "path": os.path.join(folder, name)})
        if args.json:
            output.write_json(removed)
        else:
            for one in removed:
                output.write(f"{one['name']} is removed from the kernel menu")
        return 0


def _everything(folders: Sequence[str]) -> Iterator[str]:
    """Each kernel of ours, once for each folder that has it; the first folder's goes first."""
    for folder in folders:
        for kernel in kernelspec_store.installed(folder):
            yield kernel.name


async def _ready(environments: Environments, presets: Sequence[Preset], workspace: str) -> dict[str, bool]:
    """By name, whether a kernel of the preset can start; nothing where no engine answers: a menu needs none."""
    try:
        ready = await environments.ready(presets, workspace)
    except MlenvError:
        return {}
    return {preset.name: preset.uses_host_python or bool(ready.get(preset.name)) for preset in presets}


def _folder(args: argparse.Namespace) -> str:
    if args.prefix:
        return os.path.join(os.path.abspath(os.path.expanduser(args.prefix)), "share", "jupyter", "kernels")
    if args.sys_prefix:
        return os.path.join(sys.prefix, "share", "jupyter", "kernels")
    return os.path.join(jupyter_data_dir(), "kernels")
