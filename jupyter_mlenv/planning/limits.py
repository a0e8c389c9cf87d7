"""Maxima: what an environment may have at most, whatever a preset, a request or the command line asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..engines.gpus import ALL, EVERY, GpuRequest
from ..engines.model import Resources
from ..errors import LimitExceeded

NO_GPU = {"NVIDIA_VISIBLE_DEVICES": "void"}
"""Variables that keep NVIDIA's runtime, where it is the engine's default, from giving every GPU to whoever asks for
none.

https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
"""


@dataclass(frozen=True)
class Maxima:
    """`None`: no maximum. `memory` in bytes, `cpus` in cores, `pids` and `gpus` are counts."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    gpus: int | None = None


def granted(asked: Resources, defaults: Resources, maxima: Maxima, gpu: bool = False) -> Resources:
    """Return the limits of an environment: what is asked for, else the default, else the maximum.

    Parameters
    ----------
    asked
        What preset and request say. More than a maximum is refused, since nobody would get what they count on.
    defaults
        The settings' own, which nobody asked for: they are lowered to the maximum.
    gpu
        Whether a GPU is wanted without a number.

    Raises
    ------
    LimitExceeded
        `details` has `setting` and `maximum`.
    """
    result = asked
    for name in ("memory", "cpus", "pids"):
        wanted, default, most = getattr(asked, name), getattr(defaults, name), getattr(maxima, name)
        if most is not None and wanted is not None and wanted > most:
            raise _exceeded(name, _shown(name, wanted), _shown(name, most))
        if wanted is None and most is not None:
            default = most if default is None else min(default, most)
        result = replace(result, **{name: default if wanted is None else wanted})
    if result.shm is None:
        result = replace(result, shm=defaults.shm)
    if gpu and not asked.gpus:
        result = replace(result, gpus=EVERY if maxima.gpus is None else GpuRequest(maxima.gpus))
        if maxima.gpus == 0:
            raise _exceeded("gpus", "1", "0")
    _check_gpus(asked.gpus, maxima.gpus)
    return result


def narrowed(gpus: GpuRequest, own: tuple[str, ...] | None) -> GpuRequest:
    """Return what a request without ids gets where a scheduler gave this process some GPUs of the machine only.

    Parameters
    ----------
    own
        The ids of those; None for all. Whoever names ids means these.

    Raises
    ------
    LimitExceeded
        More than there are.
    """
    if own is None or not gpus.count:
        return gpus
    if gpus.count > len(own) or not own:
        raise LimitExceeded(
            f"The request for GPUs, {gpus}, is more than this Jupyter was given, which is {', '.join(own) or 'none'} "
            "(CUDA_VISIBLE_DEVICES, or the scheduler's own variable).",
            hint="Ask for less, or name devices yourself: --gpus device=0,1. Presets without a GPU have no such limit.",
            details={"setting": "CUDA_VISIBLE_DEVICES", "maximum": str(len(own))},
        )
    return GpuRequest(devices=own if gpus.count == ALL else own[: gpus.count])


def check(applied: Resources, maxima: Maxima) -> None:
    """Check what an existing container has: it may be older than the maxima. Raises LimitExceeded."""
    for name in ("memory", "cpus", "pids"):
        has, most = getattr(applied, name), getattr(maxima, name)
        if most is not None and (not has or has > most):
            raise _exceeded(name, _shown(name, has) if has else "no limit", _shown(name, most), anew=True)
    _check_gpus(applied.gpus, maxima.gpus, anew=True)


def _check_gpus(asked: GpuRequest, most: int | None, *, anew: bool = False) -> None:
    if most is not None and asked.exceeds(most):
        raise _exceeded("gpus", asked.to_text(), str(most), anew=anew)


def _shown(name: str, value: float) -> str:
    if name != "memory":
        return f"{value:g}"
    for unit, size in (("g", 2**30), ("m", 2**20)):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:g}"


def _exceeded(name: str, asked: str, most: str, *, anew: bool = False) -> LimitExceeded:
    words = {"memory": "of memory", "cpus": "processor cores", "pids": "processes", "gpus": "GPUs"}
    raised = f"or have MlenvConfig.max_{name} raised."
    hint = f"Ask for {most} or less, {raised}"
    if anew:
        hint = f"Make it anew with --recreate, which loses what was installed in it, {raised}"
    elif most == "0":
        hint = f"Use a preset without a GPU, {raised}"
    return LimitExceeded(
        f"{asked} {words[name]} is more than an environment may have here: max_{name} is {most}.",
        hint=hint,
        details={"setting": f"max_{name}", "maximum": most},
    )
