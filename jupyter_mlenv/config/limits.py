"""The limits of environments: defaults, and maxima."""

from __future__ import annotations

from typing import Any

from traitlets import Float, Int, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from ..sizes import SMALLEST_MEMORY_BYTES, parse_size


class LimitTraits(LoggingConfigurable):
    """The limits of environments: defaults, and maxima."""

    default_memory = Unicode(
        help="""Memory limit of environments whose preset has none, such as `8g` or `512m`. Empty: no limit.

        Example: `c.MlenvConfig.default_memory = "8g"`"""
    ).tag(config=True)

    default_cpus = Float(
        None,
        allow_none=True,
        help="""Processor limit, in cores, of environments whose preset has none. `None`: no limit.

        Example: `c.MlenvConfig.default_cpus = 2.5`""",
    ).tag(config=True)

    default_pids = Int(
        4096,
        min=0,
        help="""How many processes and threads an environment may have where its preset does not say. `0`: the
        engine's default.

        Example: `c.MlenvConfig.default_pids = 1024`""",
    ).tag(config=True)

    default_shm = Unicode(
        help="""Size of `/dev/shm` where the preset does not say, such as `2g`; PyTorch's data loaders need much.
        Empty: the engine's default (64m with Docker).

        Example: `c.MlenvConfig.default_shm = "2g"`"""
    ).tag(config=True)

    max_memory = Unicode(
        help="""How much memory an environment may have at most, such as `32g`; what a preset, a request or the
        command line wants beyond that is refused. Where nobody asks, it is the limit. Empty: no maximum.

        Example: `c.MlenvConfig.max_memory = "32g"`"""
    ).tag(config=True)

    max_cpus = Float(
        None,
        allow_none=True,
        help="""How many processor cores an environment may have at most; where nobody asks, it is the limit. `None`:
        no maximum.

        Example: `c.MlenvConfig.max_cpus = 8`""",
    ).tag(config=True)

    max_pids = Int(
        None,
        allow_none=True,
        min=1,
        help="""How many processes and threads an environment may have at most; where nobody asks, it is the limit.
        `None`: no maximum.

        Example: `c.MlenvConfig.max_pids = 8192`""",
    ).tag(config=True)

    max_gpus = Int(
        None,
        allow_none=True,
        min=0,
        help="""How many GPUs an environment may have at most, however it asks for them; a GPU preset that gives no
        number gets that many. `0`: none at all. `None`: no maximum.

        Example: `c.MlenvConfig.max_gpus = 1`""",
    ).tag(config=True)

    @validate("default_memory", "default_shm", "max_memory")
    def _valid_size(self, proposal: Any) -> str:
        text = str(proposal["value"])
        if text:
            try:
                size = parse_size(text)
            except ValueError as error:
                raise TraitError(f"MlenvConfig.{proposal['trait'].name}: {error}.") from error
            if proposal["trait"].name != "default_shm" and size < SMALLEST_MEMORY_BYTES:
                raise TraitError(
                    f"MlenvConfig.{proposal['trait'].name}: {text!r} is too little; engines want 6m or more."
                )
        return text

    @validate("default_cpus", "max_cpus")
    def _valid_cpus(self, proposal: Any) -> float | None:
        cpus: float | None = proposal["value"]
        if cpus is not None and not 0 < cpus < 10_000:
            raise TraitError(
                f"MlenvConfig.{proposal['trait'].name}: {cpus!r} is not a number of cores; write for example 2 or 0.5."
            )
        return cpus
