"""Pure: preset -> what a kernel of it is called, and its kernel.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._version import __version__
from ..model import Preset

PROVISIONER = "mlenv-provisioner"
"""Our entry point in the group `jupyter_client.kernel_provisioners`."""

MARKER = "jupyter-mlenv"
"""The key in `metadata` by which a kernelspec is ours; the ones without it are never touched."""

IPYKERNEL = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
"""The argv of a kernel that the environment starts in its own way, forked where it can be."""


def spec_name(preset: str, name: str = "") -> str:
    """What a kernel is called on command lines and in notebooks' metadata."""
    return f"mlenv-{preset}-{name}" if name else f"mlenv-{preset}"


def kernel_json(
    preset: Preset, *, automatic: bool = False, workspace: str = "", name: str = "", display_name: str = ""
) -> dict[str, Any]:
    """The content of kernel.json.

    Parameters
    ----------
    automatic
        Written by a server because the image is ready, and removed by it when that is gone.
    workspace, name
        The one environment that such kernels run in; empty: that of the notebook's project.
    display_name
        What the kernel menu says; default: the preset's, which says where the kernel runs.
    """
    place = {"workspace": workspace, "name": name}
    argv = ("{kernelspec}", preset.kernel.spec, "{connection_file}") if preset.kernel.spec else preset.kernel.argv
    argv = argv or IPYKERNEL
    # What only ipykernel is known to have; of another kernel the client learns it from its kernel_info_reply.
    known = {"kernel_protocol_version": "5.5"} if argv is IPYKERNEL else {}
    return {
        "argv": list(argv),
        "display_name": display_name or preset.kernel.display_name or menu_name(preset),
        "language": preset.kernel.language,
        "interrupt_mode": preset.kernel.interrupt_mode,
        **known,
        "metadata": {
            "debugger": argv is IPYKERNEL,
            MARKER: {"preset": preset.name, "automatic": automatic, "version": __version__},
            "kernel_provisioner": {
                "provisioner_name": PROVISIONER,
                "config": {"preset": preset.name, **{key: value for key, value in place.items() if value}},
            },
        },
    }


def menu_name(preset: Preset, name: str = "") -> str:
    """What a kernel menu shows: the tile's words, and where the kernel runs."""
    gpu = " · GPU" if preset.gpu and "gpu" not in preset.title.lower() else ""
    return " ".join(word for word in (f"{preset.title}{gpu}", name, "(mlenv)") if word)


def marker(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What we noted in a kernel.json of ours; `None` for one that is somebody else's."""
    metadata = spec.get("metadata")
    mark = metadata.get(MARKER) if isinstance(metadata, Mapping) else None
    return mark if isinstance(mark, Mapping) else None


def is_ours(spec: Mapping[str, Any]) -> bool:
    """Whether kernels of this kernel.json are started by our provisioner, whoever wrote it."""
    provisioner = spec.get("metadata", {}).get("kernel_provisioner", {})
    return bool(provisioner.get("provisioner_name") == PROVISIONER)


def own_argv(argv: Sequence[str]) -> list[str] | None:
    """The argv of a kernelspec if it is for another kernel than the environment's own ipykernel, else `None`."""
    return list(argv) if tuple(argv[: len(IPYKERNEL)]) != IPYKERNEL else None
