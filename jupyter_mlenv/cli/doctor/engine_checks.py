"""Checks of `doctor` that need an engine: it answers, a container really starts, there is a GPU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace

from ... import safe_versions, workspaces
from ...engines.base import NO_ENGINE, EngineFacts
from ...engines.gpus import EVERY, GpuRequest
from ...engines.model import Mount
from ...environments import Environments, jupyter_version
from ...environments.from_container import LIMITS
from ...environments.jobs import Jobs
from ...environments.model import Environment, State
from ...errors import (
    EngineElsewhere,
    EnvironmentFailed,
    GpuUnavailable,
    MlenvError,
    PresetNotFound,
)
from ...planning.model import StartRequest
from ...settings import Settings
from ...workers import off_loop
from .. import output
from .host_checks import Check, broken

WITHOUT_ENGINE = (
    "Without an engine nothing can be started on this machine; everything else works: "
    "presets can be looked at, and JupyterLab runs as usual."
)

IN_CONTAINER = (
    "this Jupyter itself runs in a container of the engine. Projects and the run directory have to lie in what is "
    "mounted into it; a start says where they do not"
)

REGISTRY_TIMEOUT_SECONDS = 3.0
"""Seconds for a registry's answer."""


async def engine(environments: Environments, origin: str) -> tuple[list[Check], EngineFacts | None]:
    """The findings about the engine, and its facts if there is one."""
    try:
        facts = await environments.engine.facts()
    except NO_ENGINE as error:
        return [broken("Engine", error), Check("Without engine", "info", WITHOUT_ENGINE)], None
    machine = f"{facts.os} {facts.architecture}"
    if facts.cpus:
        machine += f", {facts.cpus} processors, {output.size(facts.memory)} of memory"
    found = [
        Check("Engine", "ok", f"{facts.kind} {facts.version} at {facts.url}, from {origin}"),
        Check("Its machine", "info", machine + (", rootless" if facts.rootless else "")),
    ]
    if facts.buildkit:
        found.append(Check("Builder", "ok", "BuildKit"))
    else:
        hint = "Images are built all the same, only slower: package downloads are not kept between builds."
        found.append(Check("Builder", "warning", "the classic builder, no BuildKit", hint))
    if facts.ignored:
        said = f"the engine does not apply {', '.join(f'{LIMITS[name]}s' for name in facts.ignored)}"
        hint = "What runs in an environment may take all that this machine has."
        if facts.rootless:
            hint += " A rootless engine applies them with cgroup v2 and systemd."
        found.append(Check("Limits", "warning", said, hint))
    hint = "Take `credsStore` or `credHelpers` out of ~/.docker/config.json, or install that program."
    found += [
        Check("Registry logins", "warning", said.rstrip("."), hint) for said in await environments.engine.remarks()
    ]
    if not facts.shares_filesystem:
        said = "the engine runs elsewhere: environments are reached over a published port"
        hint = "Project folders must exist there too, at the same path."
        found.append(Check("Shared files", "warning", said, hint))
    return found, facts


async def container(environments: Environments, workspace: str) -> list[Check]:
    """Really start an environment of the preset `host`, run this machine's Python in it, and remove it.

    That proves too that the engine has the same home directory and project folder, if there is one, as this machine.
    """
    name = "Container"
    if (await environments.engine.facts()).container:
        return [Check(name, "info", f"not tried: {IN_CONTAINER}")]
    try:
        code = "import sys; print(sys.version.split()[0])"
        said = await _in_container(environments, None, ["{python}", "-c", code], workspace)
    except PresetNotFound:
        return [Check(name, "info", "not tried: there is no preset `host` here")]
    except EngineElsewhere as error:
        return [broken("Shared files", error)]
    except MlenvError as error:
        return [broken(name, error)]
    seen = f"{output.short_path(workspace)} as it is here" if workspace else "this machine's files"
    return [
        Check(name, "ok", f"started, ran Python {said.strip()}, and was removed"),
        Check("Shared files", "ok", f"the engine has {seen}"),
    ]


async def gpu(environments: Environments) -> Check:
    """Check that a GPU of this machine reaches a container."""
    name, program = "GPU", shutil.which("nvidia-smi")
    if program is None:
        return Check(name, "info", "no NVIDIA driver on this machine; GPU presets have a twin for the CPU")
    code, text = await _output([program, "-L"])
    if code != 0 or not text.strip():
        hint = "Usually the driver and its kernel module differ after an update: restart the machine."
        return Check(name, "warning", f"nvidia-smi is there and finds no GPU: {text.strip()[:200]}", hint)
    count = len(text.strip().splitlines())
    if (await environments.engine.facts()).container:
        return Check(name, "info", f"{count} here; not tried in another container: {IN_CONTAINER}")
    try:
        said = await _in_container(environments, EVERY, [program, "-L"])
    except PresetNotFound:
        return Check(name, "info", f"{count} on this machine; not tried in a container: there is no preset `host`")
    except GpuUnavailable as error:
        hint = "Install NVIDIA's container toolkit, run `sudo nvidia-ctk runtime configure`, and restart the engine."
        return Check(name, "problem", f"{count} on this machine, and a container gets none: {error.message}", hint)
    except MlenvError as error:
        return broken(name, error)
    given = said.strip().splitlines() or ["none"]
    return Check(name, "ok", f"a container gets {len(given)} of {count}: {given[0]}")


async def registries(hosts: Iterable[str]) -> list[Check]:
    """Report which registries answer this machine. Only information, since the engine may reach others."""
    import aiohttp  # noqa: PLC0415

    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=REGISTRY_TIMEOUT_SECONDS), trust_env=True
    ) as client:

        async def ask(host: str) -> Check:
            address = "registry-1.docker.io" if host == "docker.io" else host
            scheme = "http" if address.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
            try:
                async with client.head(f"{scheme}://{address}/v2/", allow_redirects=False) as answer:
                    if answer.status < 500:
                        return Check("Registry", "ok", f"{host} answers")
                    said = f"{host} answers with status {answer.status}"
            except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
                said = f"{host} does not answer ({type(error).__name__})"
            hint = "Its images can then not be downloaded. A mirror can stand in: --MlenvConfig.image_aliases"
            return Check("Registry", "info", said, hint)

        return list(await asyncio.gather(*map(ask, hosts)))


async def unused(environments: Environments, workspace: str) -> list[Check]:
    """Report what `prune` would remove."""
    try:
        found = await environments.unused(workspace)
    except MlenvError as error:
        return [broken("Unused", error)]
    if not found.images and not found.environments:
        return []
    total = output.size(sum(image.size for image in found.images))
    said = f"{len(found.images)} images that nothing needs any more, up to {total}"
    return [Check("Unused", "info", said, "To see and remove them: jupyter mlenv prune")]


async def old_jupyters(environments: Environments) -> list[Check]:
    """Running environments whose Jupyter has known holes."""

    async def look(environment: Environment) -> Check | None:
        try:
            agent = await environments.agent(environment.id)
        except MlenvError:
            return None  # it ends just now, or its agent is in trouble, which opening it says
        found = await jupyter_version.versions(agent, environment.python, environment.workspace)
        said = safe_versions.sentence(found)
        return Check("Old Jupyter", "warning", f"in {environment.id}", said) if said else None

    running = [one for one in await environments.list() if one.state is State.RUNNING]
    return [check for check in await asyncio.gather(*map(look, running)) if check]


async def _in_container(
    environments: Environments, gpus: GpuRequest | None, command: list[str], workspace: str = ""
) -> str:
    """Return the output of a command in a fresh environment of the preset `host`, which is then removed.

    The workspace is there to be read only.
    """
    settings = replace(environments.settings, allowed_workspaces=(), root_dir="")
    folder = await off_loop(_trial_folder, settings)
    mounts = (Mount(workspace, "/project", read_only=True),) if workspace else ()
    trial = Environments(environments.engine, settings, Jobs())
    created = ""
    try:
        name = f"doctor-{secrets.token_hex(4)}"
        request = StartRequest("host", folder, name=name, gpus=gpus, mounts=mounts)
        environment, job = await trial.start(request)
        created = environment.id
        environment = await job.wait()
        agent = await trial.agent(environment.id)
        argv = [word.replace("{python}", environment.python) for word in command]
        async with await agent.exec(argv, cwd=environment.workspace) as session:
            text = b"".join([data async for _, data in session]).decode(errors="replace")
        if session.exit_code:
            raise EnvironmentFailed(
                f"A container started, and `{' '.join(argv)}` failed in it with exit code {session.exit_code}.",
                log=text.splitlines(),
            )
        return text
    finally:
        await trial.jobs.close()
        if created:
            with contextlib.suppress(MlenvError):
                await trial.remove(created)
        shutil.rmtree(folder, ignore_errors=True)


def _trial_folder(settings: Settings) -> str:
    """A fresh folder where projects are, in the home directory, if there can be one; else a temporary one.

    Engines may see other temporary folders than this machine (a snap does), and no folders whose names have a dot.
    """
    try:
        folder = tempfile.mkdtemp(prefix="mlenv-doctor-", dir=os.path.expanduser("~"))
    except OSError:
        return tempfile.mkdtemp(prefix="mlenv-doctor-")
    try:
        return workspaces.check(folder, settings)
    except MlenvError:
        os.rmdir(folder)
        return tempfile.mkdtemp(prefix="mlenv-doctor-")


async def _output(command: list[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        text, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    return process.returncode or 0, text.decode(errors="replace")
