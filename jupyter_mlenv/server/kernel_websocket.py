"""The WebSocket between a notebook and its kernel also says why a kernel of ours has ended.

The text goes out as output of the cell that was running, which every front end shows; its metadata lets ours do more.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from jupyter_client.jsonutil import json_default
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.websocket import WebSocketClosedError

from ..kernels.kernelspec import MARKER
from ..kernels.provisioner import MlenvProvisioner
from . import kernel_rights

BINARY_SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
"""The subprotocol whose messages are bytes; without it they are JSON texts
(https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html)."""


_restart_locks: weakref.WeakKeyDictionary[Any, asyncio.Lock] = weakref.WeakKeyDictionary()
"""One lock per kernel manager: several tabs may open one notebook."""


def report_kernel_ends(settings: MutableMapping[str, Any]) -> None:
    """Install the reporting class in an extension's `settings`, which become the server's.

    Does nothing behind a gateway, where kernels are remote.
    """
    base = settings["kernel_websocket_connection_class"]
    if not issubclass(base, ZMQChannelsWebsocketConnection):
        return

    class ReportingChannels(_Reporting, base):  # type: ignore[misc, valid-type]
        """The server's own connection between a WebSocket and a kernel, which says why the kernel has ended."""

    settings["kernel_websocket_connection_class"] = ReportingChannels


class _Reporting(ZMQChannelsWebsocketConnection):
    _running: bytes = b"{}"  # the parent header of the newest cell: it is the one that ran when the kernel ended
    _unlisten: Callable[[], None] | None = None

    @property
    def _provisioner(self) -> MlenvProvisioner | None:
        provisioner = self.kernel_manager.provisioner
        return provisioner if isinstance(provisioner, MlenvProvisioner) else None

    async def prepare(self) -> None:
        """A page that opens a notebook starts its kernel where the server has none, so also where it has a dead one."""
        if self._provisioner is not None:
            await kernel_rights.require_execute(self.websocket_handler)
            async with _restart_locks.setdefault(self.kernel_manager, asyncio.Lock()):
                if self.kernel_manager.execution_state == "dead":
                    await self.multi_kernel_manager.restart_kernel(self.kernel_id)
        await super().prepare()  # type: ignore[no-untyped-call]

    def connect(self) -> Any:
        provisioner = self._provisioner
        if provisioner is not None and self._unlisten is None:
            self._unlisten = provisioner.on_dead(self._dead)
        return super().connect()

    def disconnect(self) -> Any:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        return super().disconnect()  # type: ignore[no-untyped-call]

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        if self._unlisten is not None:
            # Behind the identities: delimiter, signature, header, parent header, … (the messaging protocol's order).
            with suppress(ValueError, IndexError):
                at = outgoing_msg.index(b"<IDS|MSG>") + 2
                if b'"execute_input"' in bytes(outgoing_msg[at]):
                    self._running = bytes(outgoing_msg[at + 1])
        super().handle_outgoing_message(stream, outgoing_msg)

    def on_kernel_restarted(self) -> None:
        """Tell that the kernel ended unasked; it is started again, unless its environment has gone, too."""
        provisioner = self._provisioner
        if provisioner is not None and provisioner.lost:
            return  # `_dead` follows: it stays down until a person wants it
        if provisioner is not None and provisioner.reason:
            self._tell(provisioner.reason, restarting=True)
        super().on_kernel_restarted()  # type: ignore[no-untyped-call]

    def on_restart_failed(self) -> None:
        """Tell that the kernel ended again and again, and is given up."""
        provisioner = self._provisioner
        if provisioner is not None and provisioner.reason:
            self._tell(f"{provisioner.reason} It ends each time that it is started.", restarting=False)
        super().on_restart_failed()  # type: ignore[no-untyped-call]

    def _dead(self, reason: str) -> None:
        self._tell(reason, restarting=False)
        with suppress(WebSocketClosedError):
            self._send_status_message("dead")  # type: ignore[no-untyped-call]

    def _tell(self, reason: str, *, restarting: bool) -> None:
        message = self.session.msg(
            "stream",
            content={"name": "stderr", "text": f"{reason}\n"},
            parent=json.loads(self._running),
            metadata={MARKER: {"reason": reason, "restarting": restarting}},
        )
        with suppress(WebSocketClosedError):
            if self.subprotocol == BINARY_SUBPROTOCOL:
                data = serialize_msg_to_ws_v1(message, "iopub", self.session.pack)  # type: ignore[no-untyped-call]
                self.write_message(data, binary=True)
            else:
                self.write_message(json.dumps({**message, "channel": "iopub"}, default=json_default))
