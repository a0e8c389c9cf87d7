"""Pure: preset -> what a kernel of it is called, and its kernel.json."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .._version import __version__
from ..presets.model import Preset

PROVISIONER = "mlenv-provisioner"
"""Our entry point in the group `jupyter_client.kernel_provisioners`."""

MARKER = "jupyter-mlenv"
"""The key in `metadata` by which a kernelspec is ours; the ones without it are never touched."""

LAUNCHER = "jupyter_mlenv.kernels.launch"
"""The program in the argv of our kernelspecs, for front ends that know no provisioners."""

PROGRAM = (
    "import os, sys; sys.path = [p for p in sys.path if p not in ('', os.getcwd())]; "
    f"from {LAUNCHER} import main; main()"
)
"""The program of the kernelspec's argv. With `-m` Python would look for it, and for all that it imports, in the
notebook's folder first, and with an empty part in PYTHONPATH (`PYTHONPATH=$PYTHONPATH:/lib`) at some time."""

IPYKERNEL = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
"""The argv that our kernelspecs had before: a front end that knows no provisioners ran it on this machine."""

KERNELSPEC = "{kernelspec}"
"""The first word of the argv that they had before for a kernel that an image brings."""


def spec_name(preset: str, name: str = "") -> str:
    """Return the name of a kernel on command lines and in notebooks' metadata."""
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
    # What only ipykernel is known to have; of another kernel the client learns it from its kernel_info_reply.
    ipykernel = not preset.kernel.spec and not preset.kernel.argv
    known = {"kernel_protocol_version": "5.5"} if ipykernel else {}
    return {
        "argv": launcher_argv(preset.name, workspace, name),
        "display_name": display_name or preset.kernel.display_name or menu_name(preset),
        "language": preset.kernel.language,
        "interrupt_mode": preset.kernel.interrupt_mode,
        **known,
        "metadata": {
            "debugger": ipykernel,
            MARKER: {"preset": preset.name, "automatic": automatic, "version": __version__},
            "kernel_provisioner": {
                "provisioner_name": PROVISIONER,
                "config": {"preset": preset.name, **{key: value for key, value in place.items() if value}},
            },
        },
    }


def menu_name(preset: Preset, name: str = "") -> str:
    """Return the entry of a kernel menu: the tile's words, and where the kernel runs."""
    gpu = " · GPU" if preset.gpu and "gpu" not in preset.title.lower() else ""
    return " ".join(word for word in (f"{preset.title}{gpu}", name, "(mlenv)") if word)


def marker(spec: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return our notes in a kernel.json; `None` for one that is somebody else's."""
    metadata = spec.get("metadata")
    mark = metadata.get(MARKER) if isinstance(metadata, Mapping) else None
    return mark if isinstance(mark, Mapping) else None


def is_ours(spec: Mapping[str, Any]) -> bool:
    """Return whether kernels of this kernel.json are started by our provisioner, whoever wrote it."""
    provisioner = spec.get("metadata", {}).get("kernel_provisioner", {})
    return bool(provisioner.get("provisioner_name") == PROVISIONER)


def launcher_argv(preset: str, workspace: str = "", name: str = "") -> list[str]:
    """The argv of our kernelspecs, with the Python that runs this."""
    place = {"--workspace": workspace, "--name": name}
    words = [word for option, value in place.items() if value for word in (option, value)]
    return [sys.executable, "-c", PROGRAM, "--preset", preset, *words, "-f", "{connection_file}"]


def own_argv(argv: Sequence[str]) -> list[str] | None:
    """The argv of a kernelspec if a person has written it; `None` if the preset says how the kernel is started."""
    launched = any(LAUNCHER in word for word in argv[1:3])
    return None if launched or outdated(argv) else list(argv)


def outdated(argv: Sequence[str]) -> bool:
    """Return whether it is one of ours from a version whose argv ran a kernel on this machine, or nothing at all."""
    return tuple(argv[: len(IPYKERNEL)]) == IPYKERNEL or list(argv[:1]) == [KERNELSPEC]


def renewed(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The kernel.json of ours as it is written today, if its argv is an outdated one; all else in it stays."""
    config = spec.get("metadata", {}).get("kernel_provisioner", {}).get("config", {})
    if not is_ours(spec) or not outdated(spec.get("argv", ())) or not config.get("preset"):
        return None
    where = [str(config.get(key, "")) for key in ("preset", "workspace", "name")]
    return {**spec, "argv": launcher_argv(*where)}
