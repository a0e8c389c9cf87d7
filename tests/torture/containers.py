"""What code in a container tries: the host's files, sockets and patience (SECURITY C1, C2, H4, H6, M9, L8)."""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress

from tests.support.leftovers import connect

from .case import case
from .ground import Ground

TOKENS = {
    "token_link": "the run directory's token is a link to ~/.ssh/id_canary",
    "token_fifo": "the run directory's token is a pipe",
    "token_sparse": "the run directory's token is 700 MB",
}
AGENTS = {
    "record": "a false agent refuses everything",
    "silent": "an agent that never answers",
    "slow": "an agent that answers a byte at a time",
    "endless_head": "an agent's head without an end",
    "endless_body": "an agent's answer without an end",
    "odd_json": "an agent's JSON of wrong shapes, depths and sizes",
    "fd_per_byte": "a descriptor with each byte of the head",
    "many_fds": "250 descriptors at once",
    "odd_fds": "descriptors of a listener, a datagram socket, a file, the connection itself",
    "linger": "a socket whose close waits for a minute",
    "blocking": "a socket that is made blocking again and again",
}


def hostile_agent(mode: str) -> None:
    what = (TOKENS | AGENTS)[mode]

    @case(f"H6 {mode}: {what}", "the server answers, SIGTERM ends it in 10 s")
    def attack(ground: Ground) -> str:
        with ground.victim() as (id, folder):
            target = str(ground.lab.root_dir / ".ssh/id_canary")
            ground.hostile(id, folder, mode, target)
            ground.poke(id)
            ground.health()
            took = ground.end_and_begin()
            assert took <= 10, f"SIGTERM took {took:.1f} s"
        return f"ended in {took:.1f} s"


for _mode in (*TOKENS, *AGENTS):
    hostile_agent(_mode)


@case("M9 sockets in the run directory are links to one of the host's", "nothing connects to it")
def socket_links(ground: Ground) -> str:
    with ground.victim() as (id, folder):
        ground.request("GET", f"mlenv/envs/{id}/notebook/api", timeout=60)
        ground.hostile(id, folder, "links", str(ground.socket))
        ground.poke(id)
        ground.poke(id, 3)
        assert not ground.touched, f"{ground.touched[:2]}"
    return "no connection"


def _home_inside(ground: Ground, id: str) -> bool:
    """Whether the environment runs and shows the person's key anywhere in the places of an attack."""
    found = json.loads(ground.request("GET", f"mlenv/api/environments/{id}")[1])
    if found.get("state") != "running":
        return False
    look = "import os\nfor place in (os.environ['MLENV_WORKSPACE'], '/mnt'):\n"
    look += " for top, _, names in os.walk(place):\n  print(*names)"
    return "id_canary" in ground.mlenv("shell", id, "--", "python3", "-c", look, check=False)


@case("C2 a mount's source becomes a link to the home directory", "the restart is refused, or has nothing of it")
def mount_swapped(ground: Ground) -> str:
    folder = ground.folder()
    (folder / "data").mkdir()
    ground.own(folder)
    text = f'schema = 1\nextends = "host"\n[[mounts]]\nsource = "{folder}/data"\ntarget = "/mnt/inside"\n'
    (ground.presets / "swapped.toml").write_text(text)
    said = []
    try:
        try:
            id = ground.start("swapped", folder)
        except AssertionError as error:
            return f"refused at once: {str(error)[:100]}"
        swap = f"cd {folder} && rmdir data && ln -s {ground.lab.root_dir} data"
        ground.mlenv("shell", id, "--", "sh", "-c", swap)
        for verb in ("restart", "stop", "start"):
            status, text_ = ground.request("POST", f"mlenv/api/environments/{id}/{verb}", {})
            if status == 202:
                try:
                    ground.ended(json.loads(text_)["job"]["id"])
                except AssertionError as error:
                    said.append(f"{verb}: {str(error)[:60]}")
            assert not _home_inside(ground, id), f"{verb}: the home directory is inside"
        ground.request("DELETE", f"mlenv/api/environments/{id}", timeout=60)
    finally:
        (ground.presets / "swapped.toml").unlink()
    return "; ".join(said) or "started with nothing of it"


@case("C2 a workspace inside another one becomes a link to the home directory", "the same")
def workspace_swapped(ground: Ground) -> str:
    with ground.victim() as (outer, folder):
        inner = folder / "inner"
        inner.mkdir()
        (inner / "pyproject.toml").write_text("")
        ground.own(folder)
        id = ground.start("other", inner)
        ground.request("POST", f"mlenv/api/environments/{id}/stop", timeout=60)
        ground.mlenv("shell", outer, "--", "sh", "-c", f"rm -r {inner} && ln -s {ground.lab.root_dir} {inner}")
        status, text = ground.request("POST", f"mlenv/api/environments/{id}/start", {})
        seen = f"{status}"
        if status == 202:
            try:
                ground.ended(json.loads(text)["job"]["id"])
            except AssertionError as error:
                seen = str(error)[:120]
        assert not _home_inside(ground, id), "the home directory is inside"
        ground.request("DELETE", f"mlenv/api/environments/{id}", timeout=60)
    return seen


@case("C2 a folder that is a link by turns, while environments start in it", "never is the home directory inside")
def workspace_race(ground: Ground) -> str:
    started = refused = 0
    with ground.victim() as (outer, folder):
        inner = folder / "inner"
        inner.mkdir()
        (inner / "pyproject.toml").write_text("")
        ground.own(folder)
        ground.hostile(outer, folder, "swap", str(inner), str(ground.lab.root_dir))
        until = time.monotonic() + 25
        while time.monotonic() < until and started + refused < 12:
            try:
                id = ground.start("other", inner)
            except AssertionError:
                refused += 1
                continue
            started += 1
            try:
                assert not _home_inside(ground, id), "the home directory is inside"
            finally:
                ground.request("DELETE", f"mlenv/api/environments/{id}", timeout=60)
    return f"{started} started, {refused} refused"


@case("H4 a folder of a build context is a link by turns", "the key is in no image")
def context_race(ground: Ground) -> str:
    folder = ground.folder()
    (folder / "big").write_bytes(b"\0" * 30_000_000)
    (folder / "z").mkdir()
    (folder / "z" / "id_canary").write_text("harmless")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY big /big\nCOPY z /z\n")
    ground.own(folder)
    name, images = "swapctx", 0
    preset = f'schema = 1\n[image]\ndockerfile = "{folder}/Dockerfile"\ncontext = "{folder}"\n'
    (ground.presets / f"{name}.toml").write_text(preset)
    outer = ground.start("victim", folder)
    try:
        ground.hostile(outer, folder, "swap", str(folder / "z"), str(ground.lab.root_dir / ".ssh"))
        for number in range(4):
            (folder / "big").write_bytes(str(number).encode() * 30_000_000)
            with suppress(AssertionError):  # no Python is in it, so it never starts; that it was built is enough
                ground.start(name, folder, recreate=True)
        with closing(connect()) as client:
            for image in client.images(filters={"reference": f"mlenv/{name}"}):
                images += 1
                container = client.create_container(image["Id"], command="none")["Id"]
                try:
                    data = b"".join(client.get_archive(container, "/z")[0])
                finally:
                    client.remove_container(container)
                    client.remove_image(image["Id"], force=True)
                for what, secret in ground.secrets.items():
                    assert secret not in data, f"{what} is in the image"
    finally:
        (ground.presets / f"{name}.toml").unlink()
        for environment in ground.lab.environments():
            if environment["workspace"] == str(folder):
                ground.request("DELETE", f"mlenv/api/environments/{environment['id']}", timeout=60)
    return f"{images} images"
