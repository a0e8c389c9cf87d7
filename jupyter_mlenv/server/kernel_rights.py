"""Kernels in environments need the right to `execute` on `mlenv`, besides what the server asks for kernels.

The server's own handlers ask its authorizer about "kernels" and "sessions" alone; for a kernel of ours the answer also
depends on "mlenv". What starts a kernel in any other way passes `require_execute`, called by the provisioner.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_async
from jupyter_server import CallContext
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.handlers import KernelActionHandler, MainKernelHandler
from jupyter_server.services.sessions.handlers import SessionHandler, SessionRootHandler
from tornado import web

from ..kernels.kernelspec import is_ours
from ..kernels.provisioner import MlenvProvisioner

NOT_AUTHORIZED = (
    "You are not authorized to run kernels in environments on this server: that needs `execute` on `mlenv`."
)


async def require_execute(handler: Any = None) -> None:
    """Raise web.HTTPError unless the request that is being answered may execute; what the server does by itself may."""
    handler = handler or CallContext.get(CallContext.JUPYTER_HANDLER)
    if handler is not None and not await _may(handler.authorizer.is_authorized, handler):
        raise web.HTTPError(403, NOT_AUTHORIZED)


def guard_kernels(server: ServerApp) -> None:
    """Have the server's authorizer refuse requests about kernels of ours to those who may not execute."""
    authorizer: Any = server.authorizer
    original = authorizer.is_authorized

    def is_authorized(handler: Any, user: Any, action: str, resource: str) -> bool | Awaitable[bool]:
        allowed: bool | Awaitable[bool] = original(handler, user, action, resource)
        # As it is wherever no kernel of ours is concerned: not every caller awaits what the original does not return.
        return both(handler, allowed) if _concerns_ours(server, handler) else allowed

    async def both(handler: Any, allowed: bool | Awaitable[bool]) -> bool:
        if not await ensure_async(allowed):
            return False
        if not await _may(original, handler):
            raise web.HTTPError(403, NOT_AUTHORIZED)
        return True

    authorizer.is_authorized = is_authorized


async def _may(is_authorized: Any, handler: Any) -> bool:
    return bool(await ensure_async(is_authorized(handler, handler.current_user, "execute", "mlenv")))


def _concerns_ours(server: ServerApp, handler: Any) -> bool:
    """Return whether a request of the kernels or sessions API would start, restart or interrupt a kernel of ours."""
    if handler.request.method not in ("POST", "PATCH"):
        return False
    if isinstance(handler, KernelActionHandler):
        return _runs_ours(server, str(handler.path_kwargs.get("kernel_id")))
    if not isinstance(handler, (MainKernelHandler, SessionRootHandler, SessionHandler)):
        return False
    try:
        body = json.loads(handler.request.body or b"{}")
    except (ValueError, RecursionError):
        return False  # the handler says what is wrong with it
    kernel = body.get("kernel") if not isinstance(handler, MainKernelHandler) and isinstance(body, dict) else body
    if not isinstance(kernel, dict):
        kernel = {}
    if kernel.get("id"):
        return _runs_ours(server, str(kernel["id"]))
    return _starts_ours(server, kernel.get("name") or server.kernel_manager.default_kernel_name)


def _runs_ours(server: ServerApp, id: str) -> bool:
    manager = server.kernel_manager
    return id in manager and isinstance(getattr(manager.get_kernel(id), "provisioner", None), MlenvProvisioner)


def _starts_ours(server: ServerApp, name: object) -> bool:
    specs: Any = server.kernel_spec_manager
    try:
        return is_ours(specs.get_kernel_spec(str(name)).to_dict())
    except (NoSuchKernel, ValueError, OSError):
        return False
