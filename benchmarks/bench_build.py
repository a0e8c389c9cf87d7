"""An image with numpy, pandas, scikit-learn and matplotlib, then one package more, against `pip install -r`.

Targets: at most 0.6 times when everything is cold, at most 0.2 times for the package that comes later. Both sides start
from the same base image, get their packages from the same index in the same minute, and end with bytecode compiled;
the peer is the usual Dockerfile (`COPY requirements.txt`, `RUN pip install --no-cache-dir -r requirements.txt`). Each
round has a build cache of its own: a word in every command and in the cache mount's name that no other round has.
Interleaved, and whoever is first takes turns. What is left in the build cache with those words is removed at the end.

`python benchmarks/bench_build.py [rounds]`
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._common import OWNER, Comparison, Silent, new_owner
from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.model import BuildRecipe, ContainerSpec, FileEntry
from jupyter_mlenv.images import debootstrap
from jupyter_mlenv.planning import dockerfile, host_python

PACKAGES = ("numpy", "pandas", "scikit-learn", "matplotlib")
LATER = "seaborn"
ROUNDS = 3

CHECK = (
    "import importlib.util as u, os, numpy, pandas, sklearn, matplotlib, {extra};"
    "assert all(os.path.exists(u.cache_from_source(m.__file__)) for m in (numpy, pandas, sklearn, matplotlib))"
)

PIP = """\
FROM {base}
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY .mlenv /tmp/kit
COPY requirements.txt .
RUN : {mark}; kit=/tmp/kit; . $kit/env.sh; pip install --no-cache-dir -r requirements.txt
"""


class Bench:
    """One run; `owner` marks all it makes."""

    def __init__(self) -> None:
        self.owner = new_owner()
        self.engine = DockerEngine()
        self.base = debootstrap.REFERENCE
        self.files: tuple[FileEntry, ...] = ()
        self.words: list[str] = []

    async def prepare(self) -> None:
        """Make the base image if it is not there, and read what the host adds to a build."""
        await debootstrap.make(self.engine, Silent(), reference=self.base)
        facts, empty = await self.engine.facts(), BuildRecipe("", "")
        self.files = host_python.equipped(empty, MlenvConfig().settings(), facts.architecture, buildkit=True).files

    async def ours(self, mark: str) -> tuple[float, float]:
        """Seconds of the first and of the second build."""
        request = dockerfile.ImageRequest(base=self.base, add_jupyter=False, pip=PACKAGES)
        first = await self.build(self.cold(dockerfile.recipe(request, "bench"), mark), "os")
        image = await self.engine.image(f"{self.owner}/ours:{mark}")
        assert image is not None
        more = replace(request, pip=(*PACKAGES, LATER))
        recipe = dockerfile.recipe(more, "bench", earlier=[image.labels])
        return first, await self.build(self.cold(recipe, mark), LATER)

    async def theirs(self, mark: str) -> tuple[float, float]:
        """The same with pip."""
        kit = tuple(entry for entry in self.files if not entry.path.endswith("/uv"))
        seconds = []
        for packages, extra in ((PACKAGES, "os"), ((*PACKAGES, LATER), LATER)):
            requirements = FileEntry("requirements.txt", "\n".join(packages).encode())
            text = PIP.format(base=self.base, mark=mark)
            recipe = BuildRecipe(f"{self.owner}/pip:{mark}", text, files=(*kit, requirements), labels=self.labels)
            seconds.append(await self.build(recipe, extra))
        return seconds[0], seconds[1]

    @property
    def labels(self) -> dict[str, str]:
        return {OWNER: self.owner}

    def cold(self, recipe: BuildRecipe, mark: str) -> BuildRecipe:
        """The product's own recipe, with a cache of its own."""
        text = recipe.dockerfile.replace("id=mlenv-uv", f"id={mark}").replace(
            "sh /dev/mlenv", f": {mark}; sh /dev/mlenv"
        )
        assert text.count(mark) >= 2
        labels = {**recipe.labels, **self.labels}
        files = (*recipe.files, *self.files)
        return replace(recipe, tag=f"{self.owner}/ours:{mark}", dockerfile=text, labels=labels, files=files)

    async def build(self, recipe: BuildRecipe, extra: str) -> float:
        """Seconds of a build whose image is then shown to work."""
        began = time.perf_counter()
        await self.engine.build(recipe, Silent())
        seconds = time.perf_counter() - began
        code = CHECK.format(extra=extra)
        spec = ContainerSpec(f"{self.owner}-check", recipe.tag, ("python3", "-c", code), labels=self.labels)
        container = await self.engine.create(spec)
        await self.engine.start(container.id)
        lines = [line async for line in self.engine.logs(container.id, follow=True)]
        assert not lines, lines
        await self.engine.remove(container.id)
        return seconds

    async def clean(self) -> None:
        """Containers, images and build cache of this run."""
        for container in await self.engine.list(self.labels):
            await self.engine.remove(container.id)
        for image in await self.engine.images(self.labels):
            for name in image.tags or (image.id,):
                await self.engine.remove_image(name)
        await self.engine.close()
        await asyncio.to_thread(forget, self.words)


def forget(words: list[str]) -> None:
    """Remove the build cache records whose commands have one of these words, last ones first."""
    import docker

    with closing(docker.APIClient(version="auto", timeout=300)) as client:
        for _ in range(5):
            records = client.df()["BuildCache"]
            ours = [r["ID"] for r in records if any(word in r.get("Description", "") for word in words)]
            freed = sum(client.prune_builds(filters={"id": [id]}, all=True)["SpaceReclaimed"] for id in ours)
            if not ours or not freed:
                return


async def measure(rounds: int) -> list[Comparison]:
    bench = Bench()
    results: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    try:
        await bench.prepare()
        for number in range(rounds):
            order = ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours")
            for side in order:
                word = f"bench{secrets.token_hex(6)}"
                bench.words.append(word)
                results[side].append(await getattr(bench, side)(word))
                print(f"  round {number + 1}: {side:6} cold {results[side][-1][0]:.1f} s, ", end="", flush=True)
                print(f"one package more {results[side][-1][1]:.1f} s", flush=True)
    finally:
        await bench.clean()
    (cold, more), (pip_cold, pip_more) = (zip(*results[side], strict=True) for side in ("ours", "theirs"))
    peer = "Dockerfile with pip install -r"
    return [
        Comparison(f"{' '.join(PACKAGES)}, cold, on {os.cpu_count()} cores", cold, peer, pip_cold, 0.6),
        Comparison(f"then {LATER} added", more, peer, pip_more, 0.2),
    ]


def main() -> None:
    """Measure and print."""
    for comparison in asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)):
        comparison.print()


if __name__ == "__main__":
    main()
