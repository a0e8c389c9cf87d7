"""The Jupyter server, and its kernels."""

from __future__ import annotations

from traitlets import Bool, Float, List, Unicode
from traitlets.config import LoggingConfigurable


class ServerTraits(LoggingConfigurable):
    """The Jupyter server, and its kernels."""

    tcp_nodelay = Bool(
        True,
        help="""Whether the Jupyter server sends small messages at once (TCP_NODELAY on its listening sockets).
        Without it each execution of a cell waits about 40 ms.

        Example: `c.MlenvConfig.tcp_nodelay = False`""",
    ).tag(config=True)

    gc_freeze = Bool(
        True,
        help="""Whether what the Jupyter server has loaded by the end of its start-up is taken out of garbage
        collection, which otherwise pauses it for about 100 ms now and then.

        Example: `c.MlenvConfig.gc_freeze = False`""",
    ).tag(config=True)

    login_cache_seconds = Float(
        5.0,
        min=0.0,
        help="""How long the proxy remembers who a login belongs to and that it may use environments. A permission
        taken back on the server's side reaches the proxy that much later; a logout in the browser at once. `0`:
        asked for every request.

        Example: `c.MlenvConfig.login_cache_seconds = 0`""",
    ).tag(config=True)

    idle_endpoints = List(
        Unicode(),
        ["tensorboard"],
        help="""Endpoints, by name or port, whose traffic is no use of this Jupyter server: their pages ask for news by
        themselves, and one that was left open would keep a server alive for ever that is stopped when nobody uses it
        (`ServerApp.shutdown_no_activity_timeout`, a hub's idle culler). Everything else in environments counts.

        Example: `c.MlenvConfig.idle_endpoints = ["tensorboard", "8501"]`""",
    ).tag(config=True)

    auto_kernels = Bool(
        True,
        help="""Whether the Jupyter server keeps a kernel in the kernel menu for each preset whose image is ready. They
        are files in your own Jupyter data directory, so `nbconvert` and others see them too. `jupyter mlenv
        kernels` manages kernels by hand.

        Example: `c.MlenvConfig.auto_kernels = False`""",
    ).tag(config=True)

    take_over_kernels = Bool(
        True,
        help="""Whether a Jupyter server that is started after it was killed goes on with the kernels that it had, and
        with the notebooks that use them. `kernel_grace` says how long they wait for it.

        Example: `c.MlenvConfig.take_over_kernels = False`""",
    ).tag(config=True)

    kernel_grace = Float(
        60.0,
        min=1.0,
        max=86400.0,
        help="""Seconds that a kernel lives on when nobody is connected to it, as after its Jupyter server was killed. A
        server that comes back within that time keeps it.

        Example: `c.MlenvConfig.kernel_grace = 600`""",
    ).tag(config=True)
