"""The kernel in there: started in its environment, connected to this machine, followed to its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..agent_client import KernelRequest, KernelStarted
from ..environments import Environments, run_directory
from ..errors import EnvironmentFailed, KernelExists, KernelExited, KernelTimeout, MlenvError, NoKernelspec, NotFound
from ..planning.model import ISOLATED
from ..presets.model import KernelOptions
from . import exit_reason, placement
from .launch_info import socket_prefix
from .placement import KernelTarget, Placement
from .socket_forwarder import PORTS, Address, SocketForwarder, links
from .use_cases import UseCases


class RemoteKernel:
    """A kernel in an environment. All methods belong to one event loop.

    `placement` is None until it has been found, and after its end. `use_cases` are called from that loop.
    """

    def __init__(self, use_cases: UseCases, id: str) -> None:
        self.use_cases, self.id = use_cases, id
        self.placement: Placement | None = None
        self._target: KernelTarget | None = None
        self._forwarder: SocketForwarder | None = None

    async def find(self, target: KernelTarget) -> Placement:
        """Find or start its environment. Raises as `placement.find`."""
        self._target = target
        self.placement = await self.use_cases.call(lambda environments: placement.find(environments, target))
        return self.placement

    async def start(self, request: KernelRequest) -> KernelStarted:
        """Start it where it was placed, or in what has come in that environment's place.

        Raises EnvironmentFailed, KernelExited, KernelTimeout, NoKernelspec and what finding an environment raises.
        """
        assert self._target is not None
        assert self.placement is not None
        target, place, started = self._target, self.placement, list[KernelStarted]()

        async def put(environments: Environments, place: Placement) -> None:
            try:
                try:
                    started.append(await place.agent.kernels.start(self.id, request))
                except KernelExists:  # its end was asked for and has not come, or its last provisioner died
                    await place.agent.kernels.stop(self.id)
                    started.append(await place.agent.kernels.start(self.id, request))
            except (KernelExited, KernelTimeout) as error:
                raise await exit_reason.not_started(environments, place, error) from error
            except NoKernelspec as error:
                raise NoKernelspec(
                    f"The kernel of the preset {target.preset} cannot start in {place.environment}: {error.message}",
                    hint="Correct `spec` below [kernel] in the preset, or add what brings that kernel to its image.",
                ) from error
            except NotFound as error:
                raise EnvironmentFailed(
                    f"The environment {place.environment} was made by a version of jupyter_mlenv without kernels.",
                    hint="Make it anew, without what was installed in it: "
                    f"jupyter mlenv start {target.preset} --workspace '{place.workspace}' --recreate",
                ) from error

        self.placement = await self.use_cases.call(
            lambda environments: placement.run_in(environments, target, place, lambda place: put(environments, place))
        )
        return started[-1]

    async def attach(self, environment_id: str, cwd: str) -> None:
        """Take one that runs already, in this folder. Raises NotFound if it has ended."""
        self.placement = await self.use_cases.call(
            lambda environments: self._attached(environments, environment_id, cwd)
        )

    async def _attached(self, environments: Environments, environment_id: str, cwd: str) -> Placement:
        environment = await environments.look(environment_id)
        agent = await placement.client(environments, environment)
        if self.id not in [kernel.id for kernel in await agent.kernels.list() if kernel.state != "exited"]:
            raise NotFound(
                f"The kernel {self.id} in the environment {environment_id} has ended.", hint="Start it anew."
            )
        presets, _ = await environments.presets(environment.workspace)
        return Placement(
            environment_id,
            environment.workspace,
            environment.run_dir,
            agent,
            cwd,
            next((preset.kernel for preset in presets if preset.name == environment.preset), KernelOptions()),
            placement.sockets(environments, environment),
            isolated=environment.name == f"{ISOLATED}{self.id}",
        )

    async def connect(self) -> None:
        """Have its sockets on this machine, where ZeroMQ finds them and no environment can write.

        Raises EnvironmentFailed.
        """
        assert self.placement is not None
        place, prefix = self.placement, socket_prefix(self.id)
        if not place.run_dir:
            addresses = [os.path.join(place.sockets, f"{prefix}-{port}") for port in PORTS]
            await self.forward(addresses, place.sockets)
            return
        try:
            links(place.run_dir, prefix)
        except OSError as error:
            raise EnvironmentFailed(
                f"The kernel's sockets in the environment {place.environment} cannot be used: {error.strerror}.",
                hint=f"Restart the environment: jupyter mlenv restart {place.environment}",
                details={"environment": place.environment},
            ) from error

    async def forward(self, addresses: list[Address] | list[str], directory: str = "") -> None:
        """Have its sockets at these five addresses of this machine. Raises OSError."""
        assert self.placement is not None
        await self.disconnect()  # a restart; the manager has removed the sockets
        prefix = socket_prefix(self.id)
        sockets: dict[Address, str] = {at: f"{prefix}-{port}" for at, port in zip(addresses, PORTS, strict=True)}
        forwarder = SocketForwarder(self.placement.agent, sockets, directory)
        await forwarder.start()
        self._forwarder = forwarder

    async def disconnect(self) -> None:
        """Close what forwards its sockets."""
        forwarder, self._forwarder = self._forwarder, None
        if forwarder is not None:
            await forwarder.close()

    async def follow(self) -> exit_reason.Exit:
        """Hold it, so that it lives, until it ends."""
        assert self.placement is not None
        place = self.placement
        return await exit_reason.follow(self.use_cases, place.environment, place.agent, self.id)

    async def signal(self, name: str) -> None:
        """Send a signal to its process group, so that what a cell has started hears it too. Raises NotFound."""
        if self.placement is not None:
            await self.placement.agent.kernels.signal(self.id, name)

    async def note(self, note: Mapping[str, Any]) -> None:
        """Write something down about it, in its agent. Raises MlenvError."""
        if self.placement is not None:
            await self.placement.agent.kernels.note(self.id, note)

    async def end(self, log: logging.Logger) -> None:
        """End it, and its environment if that was for it alone. What cannot be removed is logged."""
        place = self.placement
        if place is None:
            return
        with suppress(MlenvError):
            await place.agent.kernels.stop(self.id)
        if place.isolated:
            try:
                await self.use_cases.call(lambda environments: environments.remove(place.environment))
            except MlenvError as error:
                log.warning("The environment %s of an ended kernel stays: %s", place.environment, error.message)

    def drop_links(self) -> None:
        """Remove the links to its sockets, which lead nowhere once it has ended."""
        if self.placement is not None and self.placement.run_dir:
            run_directory.drop_links(self.placement.run_dir)
