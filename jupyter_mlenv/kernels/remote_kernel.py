"""One kernel inside its environment: started, found again, ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..agent_client import KernelStarted
from ..environments import Environments
from ..errors import EnvironmentFailed, KernelExists, KernelExited, KernelTimeout, MlenvError, NoKernelspec, NotFound
from ..planning.model import ISOLATED
from ..presets.model import KernelOptions
from . import placement
from .exit_reason import not_started
from .placement import Place, Wish


async def start(
    environments: Environments, wish: Wish, found: Place, options: Mapping[str, Any]
) -> tuple[Place, KernelStarted]:
    """Start the kernel with these options of `AgentClient.start_kernel`, in `found` or what has come in its place.

    Raises EnvironmentFailed, KernelExited, KernelTimeout, NoKernelspec and what finding an environment raises.
    """
    started: list[KernelStarted] = []

    async def put(place: Place) -> None:
        try:
            try:
                started.append(await place.agent.start_kernel(wish.kernel_id, **options))
            except KernelExists:  # its end was asked for and has not come, or its last provisioner died
                await place.agent.stop_kernel(wish.kernel_id)
                started.append(await place.agent.start_kernel(wish.kernel_id, **options))
        except (KernelExited, KernelTimeout) as error:
            raise await not_started(environments, place, error) from error
        except NoKernelspec as error:
            raise NoKernelspec(
                f"The kernel of the preset {wish.preset} cannot start in {place.environment}: {error.message}",
                hint="Correct `spec` below [kernel] in the preset, or add what brings that kernel to its image.",
            ) from error
        except NotFound as error:
            raise EnvironmentFailed(
                f"The environment {place.environment} was made by a version of jupyter_mlenv without kernels.",
                hint="Make it anew, without what was installed in it: "
                f"jupyter mlenv start {wish.preset} --workspace '{place.workspace}' --recreate",
            ) from error

    return await placement.use(environments, wish, found, put), started[-1]


async def again(environments: Environments, kernel_id: str, environment_id: str, cwd: str) -> Place:
    """The place of a kernel that is there already, in this folder. Raises NotFound if it has ended."""
    environment = await environments.look(environment_id)
    agent = await placement.client(environments, environment)
    if kernel_id not in [kernel.id for kernel in await agent.kernels() if kernel.state != "exited"]:
        raise NotFound(f"The kernel {kernel_id} in the environment {environment_id} has ended.", hint="Start it anew.")
    presets, _ = await environments.presets(environment.workspace)
    options = next((p.kernel for p in presets if p.name == environment.preset), KernelOptions())
    return Place(
        environment_id,
        environment.workspace,
        environment.run_dir,
        agent,
        cwd,
        options,
        placement.sockets(environments, environment),
        isolated=environment.name == f"{ISOLATED}{kernel_id}",
    )


async def end(environments: Environments, kernel_id: str, place: Place, log: logging.Logger) -> None:
    """End the kernel, and its environment if that was for it alone. What cannot be removed is logged."""
    with suppress(MlenvError):
        await place.agent.stop_kernel(kernel_id)
    if place.isolated:
        try:
            await environments.remove(place.environment)
        except MlenvError as error:
            log.warning("The environment %s of an ended kernel stays: %s", place.environment, error.message)
