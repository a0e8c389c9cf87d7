"""Environments whose image is built here from real packages: once, in layers that are reused, without secrets."""

from __future__ import annotations

import json
import re
import secrets
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.engines.model import BuildRecipe
from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.job import Job
from jupyter_mlenv.environments.model import State
from tests.support.environments import Named, Settings, inside, inspected, lines_of, opened, start
from tests.support.gates import private_index
from tests.support.leftovers import connect
from tests.support.reporting import Recorder


@pytest.fixture
async def environments(settings: Settings, base_image: str) -> AsyncIterator[Environments]:
    async with opened(settings(image_aliases={"docker.io/library/python": base_image})) as environments:
        yield environments


@pytest.fixture
async def fresh_base(preset_prefix: str, base_image: str) -> str:
    """A base image that no session before had, so that nothing on it is in the engine's build cache."""
    reference = f"mlenv/{preset_prefix}base:{secrets.token_hex(4)}"
    engine = DockerEngine()
    try:
        text = f"FROM {base_image}\nRUN echo {reference} > /etc/session\n"
        labels = {f"{LABEL}.preset": "base"}
        await engine.build(BuildRecipe(tag=reference, dockerfile=text, labels=labels), Recorder())
    finally:
        await engine.close()
    return reference


async def test_the_python_preset_is_built_from_its_packages_and_opens(
    environments: Environments, named: Named, workspace: Path, base_image: str
) -> None:
    preset = named("python", 'extends = "python"\n')
    environment, job = await start(environments, preset, workspace, endpoint="notebook")
    assert environment.state is State.RUNNING
    assert any(f"FROM docker.io/{base_image}" in line for line in lines_of(job))
    cached = await inside(
        environments,
        environment.id,
        "import json, numpy, scipy, pandas, sklearn, matplotlib, seaborn, requests, tensorboard, ipykernel\n"
        "pandas.DataFrame({'x': [1, 2]}).to_csv('made.csv')\n"
        "print(json.dumps(pandas.__cached__))",
    )
    assert (workspace / "made.csv").read_text().splitlines()[-1] == "1,2"
    # Compiled while it was built; a kernel that has to do it at each of its starts takes three times as long.
    compiled = await inside(
        environments, environment.id, f"import json, os; print(json.dumps(os.path.exists({cached!r})))"
    )
    assert compiled is True

    other = workspace.parent / "other"
    other.mkdir()
    second, job = await start(environments, preset, other)
    assert second.id != environment.id
    assert inspected(second.id)["Image"] == inspected(environment.id)["Image"]
    assert lines_of(job) == []


async def test_one_package_more_reuses_the_layers(
    environments: Environments, named: Named, workspace: Path, fresh_base: str
) -> None:
    text = f'[image]\nbase = "{fresh_base}"\nadd_jupyter = false\npip = ["six"]\n'
    preset = named("few", text)
    environment, job = await start(environments, preset, workspace)
    assert [line for line in steps(job) if "CACHED" in line and "six" in line] == []
    assert await inside(environments, environment.id, "import six; print(1)") == 1

    named("few", text.replace('"six"', '"idna", "six"'))
    kept, _ = await start(environments, preset, workspace)
    assert kept.container == environment.container
    assert kept.outdated

    more, job = await start(environments, preset, workspace, recreate=True)
    assert more.container != environment.container
    old = next(line for line in steps(job) if line.endswith("six"))
    new = next(line for line in steps(job) if line.endswith("idna"))
    assert old.startswith("CACHED ")
    assert not new.startswith("CACHED ")
    assert await inside(environments, more.id, "import six, idna; print(1)") == 1


def steps(job: Job) -> list[str]:
    """The builder's lines about its steps."""
    return [" ".join(line.split()) for line in lines_of(job) if re.match(r"(CACHED )?\[(\S+ )?\d+/\d+\]", line)]


@pytest.mark.parametrize("how", ["auto", "auto with an own index", "classic", "classic with an own index"])
async def test_what_a_build_needs_to_know_stays_out_of_the_image(
    settings: Settings, named: Named, workspace: Path, base_image: str, how: str
) -> None:
    """A private index behind a proxy, both with passwords, and an authority of the site's own: used, and not kept."""
    package = f"mlenvprobe{secrets.token_hex(6)}"
    passwords = (secrets.token_hex(12), secrets.token_hex(12))
    builder, own = how.partition(" ")[0], "own" in how
    async with private_index(package, passwords, workspace.parent) as index:
        pip = f'pip = ["{package}"]\n' + (f'pip_index = "{index.index_url}"\n' if own else "")
        preset = named("private", f'[image]\nbase = "{base_image}"\nadd_jupyter = false\n{pip}')
        site = settings(
            builder=builder,
            ca_bundle=str(index.ca_pem),
            proxies={"https_proxy": index.proxy_url},
            pip_index_url=index.index_url,
            pip_extra_index_urls=[],
            pip_find_links=[],
        )
        async with opened(site) as environments:
            environment, job = await start(environments, preset, workspace)
            said = await inside(
                environments, environment.id, f"import {package}, json; print(json.dumps({package}.word))"
            )
            proxy = await inside(
                environments, environment.id, "import json, os; print(json.dumps(os.environ['https_proxy']))"
            )
    assert (said, proxy) == ("from the private index", index.proxy_url)
    assert {path.rpartition("/")[2].rpartition(".")[2] for path in index.served} == {"", "whl"}

    authority = index.ca_pem.read_text().splitlines()[1]
    # No secret, and the classic builder cannot mount it.
    public = [] if builder == "classic" else [authority]
    secret = [word.encode() for word in (*passwords, index.proxy_url, *public)]
    names = set()
    for name, content in image_files(environment.image):
        names.add(name)
        assert [word for word in secret if word in content] == [], name
    assert any(package in name for name in names), "these are not the image's files"
    kit = [n for n in names if n.endswith(("/uv", "ca.pem", "env.sh", "install.sh", "url")) and "mlenv" in n]
    assert {n.rpartition("/")[2] for n in kit} == ({"uv", "ca.pem", "install.sh"} if builder == "classic" else set())
    with closing(connect()) as client:
        shown = json.dumps([client.inspect_image(environment.image), client.history(environment.image)])
    assert [word for word in secret if word.decode() in shown] == []
    assert not [line for line in lines_of(job) for word in passwords if word in line]


def image_files(reference: str) -> Iterator[tuple[str, bytes]]:
    """Everything `docker save` gives: the configuration with its history, and each file of each layer."""
    with closing(connect()) as client, tempfile.TemporaryFile() as saved:
        for chunk in client.get_image(reference):
            saved.write(chunk)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                content = archive.extractfile(member)
                assert content is not None
                try:
                    layer = tarfile.open(fileobj=content, mode="r:*")  # noqa: SIM115 - closed with its file
                except tarfile.ReadError:
                    content.seek(0)
                    yield member.name, content.read()
                    continue
                for inner in layer:
                    file = layer.extractfile(inner) if inner.isfile() else None
                    yield inner.name, file.read() if file else b""


async def test_prune_removes_what_a_preset_has_left_behind(
    settings: Settings, named: Named, workspace: Path, base_image: str, preset_prefix: str
) -> None:
    """Ten edits are ten images; one that is stopped keeps its own, and so does what somebody built upon one."""
    text = f'[image]\ndockerfile = "{workspace}/Dockerfile"\n'
    async with opened(settings()) as environments:
        made = []
        for number in range(3):
            (workspace / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo {preset_prefix} {number} >/etc/made\n")
            name = "other" if number == 2 else ""
            made.append((await start(environments, named("edits", text), workspace, name=name, recreate=True))[0])
        await environments.stop(made[1].id)
        with closing(connect()) as client:
            client.tag(made[0].image, f"theirs/{preset_prefix}app", "1")
            try:

                async def mine() -> list[str]:
                    found = await environments.unused(str(workspace))
                    return [name for image in found.images for name in image.names if f"{preset_prefix}edits" in name]

                assert await mine() == [], "somebody else has a name for the only one that could go"
            finally:
                client.remove_image(f"theirs/{preset_prefix}app:1")
        assert await mine() == [made[0].image]
        # Other tests' images, on the same engine, are not this one's to remove.
        unused = await environments.unused(str(workspace))
        own = tuple(image for image in unused.images if image.preset == f"{preset_prefix}edits")
        await environments.prune(replace(unused, images=own, environments=()))
        assert await environments.engine.image(made[0].image) is None
        assert await environments.engine.image(made[1].image) is not None
        assert await environments.engine.build_cache() > 0
