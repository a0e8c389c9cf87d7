"""ML environments in containers, one click away from JupyterLab."""

from __future__ import annotations

from typing import Any

from ._version import __version__

__all__ = ["__version__"]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .server.extension import MlenvExtension  # noqa: PLC0415  (the command line never needs the server)

    return [{"module": "jupyter_mlenv", "app": MlenvExtension}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter-mlenv"}]
