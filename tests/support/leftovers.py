"""What a test session has on the engine and on the disk, and how it goes away.

A session's owner is `test-<pid>-<random>`: what belongs to a dead process is a leftover of a killed session.
`python -m tests.support.leftovers` (part of `make clean`) removes those and nothing else.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import docker.errors

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker.endpoint import find_endpoint

from .waiting import wait_until

OWNER = f"{LABEL}.owner"

BUILT = re.compile(r"mlenv/(test-\d+-[0-9a-f]{6})-")


def connect() -> docker.APIClient:
    """A client of the engine that the product would use. Raises docker.errors.DockerException if none answers."""
    return docker.APIClient(base_url=find_endpoint(None, os.environ).url, version="auto", timeout=60)


def new_owner() -> str:
    """The owner label of this process's session."""
    return f"test-{os.getpid()}-{secrets.token_hex(3)}"


def new_run_root(owner: str) -> Path:
    """A short 0700 directory for run directories: a unix socket's path holds 107 bytes at most."""
    return Path(tempfile.mkdtemp(prefix=f"mlenv-{owner}-", dir="/tmp"))


def is_dead(owner: str) -> bool:
    """Whether the label is one of a test session whose process has gone."""
    match = re.fullmatch(r"test-(\d+)-[0-9a-f]{6}", owner)
    return match is not None and not Path(f"/proc/{match[1]}").exists()


def found(client: docker.APIClient, mine: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    """What is on the engine for these owners: (kind, engine id, name), in the order in which it can be removed."""
    everything = {"label": OWNER}
    things: list[tuple[str, str, str]] = []

    def add(kind: str, rows: list[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> None:
        things.extend((kind, row["Id"], name(row)) for row in rows if mine((row["Labels"] or {}).get(OWNER, "")))

    add("container", client.containers(all=True, filters=everything), lambda row: row["Names"][0].lstrip("/"))
    add("network", client.networks(filters=everything), lambda row: row["Name"])
    add("image", client.images(filters=everything), lambda row: (row["RepoTags"] or [row["Id"]])[0])
    # What a start builds belongs to everybody, so it has no owner's label: tests name presets after their session.
    for row in client.images(filters={"reference": "mlenv/test-*"}):
        things.extend(("image", tag, tag) for tag in row["RepoTags"] or () if mine(_owner_in(tag)))
    # Built images carry no owner, since people share them; those of a test's presets are named after its session.
    for row in client.images(filters={"label": f"{LABEL}.preset"}):
        for tag in row["RepoTags"] or ():
            match = BUILT.match(tag)
            if match and mine(match[1]):
                things.append(("image", tag, tag))
    return things


def _owner_in(tag: str) -> str:
    match = re.match(r"mlenv/(test-\d+-[0-9a-f]{6})-", tag)
    return match[1] if match else ""


def remove(client: docker.APIClient, things: list[tuple[str, str, str]]) -> None:
    """Remove by force; what is already gone, or going, is no error."""
    for kind, id, _ in things:
        try:
            if kind == "container":
                client.remove_container(id, force=True, v=True)
            elif kind == "network":
                client.remove_network(id)
            else:
                client.remove_image(id, force=True)
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            if error.status_code != 409:  # "removal already in progress", or an image that a container still uses
                raise


def sweep(client: docker.APIClient, mine: Callable[[str], bool]) -> list[str]:
    """Remove everything of these owners; the names of what there was. Raises AssertionError if something stays."""
    before = found(client, mine)
    remove(client, before)
    wait_until(lambda: not _again(client, mine), "what the tests made is gone from the engine")
    return [f"{kind} {name}" for kind, _, name in before]


def _again(client: docker.APIClient, mine: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    still = found(client, mine)
    remove(client, still)
    return still


def main() -> int:
    """Remove what sessions that no longer run have left behind."""
    for path in Path("/tmp").glob("mlenv-test-*-*"):
        match = re.match(r"mlenv-(test-\d+-[0-9a-f]{6})-", path.name)
        if match and is_dead(match[1]):
            print(f"removing {path}")
            shutil.rmtree(path)
    try:
        client = connect()
    except docker.errors.DockerException:
        return 0  # no engine, so nothing on it
    with closing(client):
        for name in sweep(client, is_dead):
            print(f"removed {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
