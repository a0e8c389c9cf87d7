"""Listing 200 environments against docker-py's `containers.list(all=True)` with the same filter.

Target: at most a tenth. The 200 containers are created from an image of a few bytes, carry labels as long as real
ones, are never started, and are removed at the end whatever happens. Interleaved.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._common import OWNER, Comparison, new_owner

ENVIRONMENTS = 200
ROUNDS = 15


async def measure() -> Comparison:
    import docker

    from jupyter_mlenv.container_layout import LABEL
    from jupyter_mlenv.engines.docker import DockerEngine
    from jupyter_mlenv.engines.docker.containers import pack
    from jupyter_mlenv.engines.model import ContainerSpec, FileEntry

    owner = new_owner()
    mine = {OWNER: owner}
    image = f"mlenv-{owner}/empty:1"
    engine = DockerEngine()
    try:
        await engine.import_image(image, pack([FileEntry("/empty", b"")]), mine)
        for number in range(ENVIRONMENTS):
            labels = {**mine, f"{LABEL}.id": f"python-{number:010x}", f"{LABEL}.plan": "x" * 2500}
            await engine.create(ContainerSpec(f"{owner}-{number}", image, ("/x",), labels=labels, network="none"))
        ours, theirs = [], []
        with closing(docker.DockerClient(version="auto")) as client:
            filters = {"label": f"{OWNER}={owner}"}
            for number in range(ROUNDS + 1):
                gc.collect()
                began = time.perf_counter()
                found = await engine.list(mine)
                middle = time.perf_counter()
                listed = client.containers.list(all=True, filters=filters)
                ended = time.perf_counter()
                assert len(found) == len(listed) == ENVIRONMENTS
                if number:  # the first round opens connections and imports
                    ours.append(middle - began)
                    theirs.append(ended - middle)
    finally:
        for container in await engine.list(mine):
            await engine.remove(container.id)
        await engine.remove_image(image)
        await engine.close()
    return Comparison(f"listing {ENVIRONMENTS} environments", ours, "docker-py containers.list(all=True)", theirs, 0.1)


def main() -> None:
    """Measure and print."""
    asyncio.run(measure()).print()


if __name__ == "__main__":
    main()
