"""One API client whose sockets another thread can cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, cast

from . import credentials
from .endpoint import EngineEndpoint
from .lines import messages

if TYPE_CHECKING:
    from docker import APIClient

REQUEST_TIMEOUT_SECONDS = 60
"""Seconds that an ordinary request may be silent; streams have no limit."""

GREETING_TIMEOUT_SECONDS = 8
"""Seconds for the first answer of an engine: a person waits for it."""

QUESTION_TIMEOUT_SECONDS = 20
"""Seconds that the answer to a question may take, which changes nothing; a busy engine takes 2."""

_patience = threading.local()


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Requests of this thread get so many seconds meanwhile; `None`: what their client gives."""
    before = getattr(_patience, "seconds", None)
    _patience.seconds = seconds
    try:
        yield
    finally:
        _patience.seconds = before


CHUNK_BYTES = 1 << 16
"""Bytes of an answer that are read at once."""


class Connection:
    """A docker-py client, and every socket it opened.

    requests cannot be interrupted from outside; shutting its socket down can, in any phase of a request: while a
    build context is sent, while a registry keeps the answer's headers waiting, or in the middle of a stream.
    """

    client: APIClient
    server = ""
    """The engine's product and version as `/_ping` says them (`Docker/28.2.2 (linux)`); empty where it does not."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._cut = False

    def record(self, opened: Any) -> None:
        """Remember a socket; one that comes after the cut is cut at once."""
        with self._lock:
            self._sockets.add(opened)
            cut = self._cut
        if cut:
            _shut(opened)

    def cut(self) -> None:
        """End all requests of this client now: their threads get an error from the socket."""
        with self._lock:
            self._cut = True
            sockets = list(self._sockets)
        for opened in sockets:
            _shut(opened)

    def close(self) -> None:
        """Cut the connection and give the sockets back to the system."""
        self.cut()
        self.client.close()

    def messages(self, method: str, path: str, **request: Any) -> Iterator[dict[str, Any] | None]:
        """The JSON messages that answer a request, as they come; what is none is `None`.

        The request is sent, and a refusal of the engine raised, before this returns. docker-py's own stream reads a
        refusal as if it were a message, and a line in time that grows with the square of its length.
        """
        client: Any = self.client
        send = client._post if method == "POST" else client._get
        response = send(client._url(path), stream=True, timeout=None, **request)
        client._raise_for_status(response)
        raw = response.raw
        return messages(raw.read_chunked(CHUNK_BYTES) if raw.chunked else raw.stream(CHUNK_BYTES))

    def post_build(self, params: Mapping[str, Any], context: IO[bytes]) -> Iterator[dict[str, Any] | None]:
        """`POST /build`, its messages as they come.

        docker-py's own `build()` cannot choose BuildKit, hence its inner helpers. They add the docker configuration's
        registry credentials, and its proxies as build arguments, as the command line does.
        """
        client: Any = self.client
        headers = {"Content-Type": "application/tar"}
        credentials.add_logins(client, headers)
        arguments = {**client._proxy_configs.get_environment(), **params["buildargs"]}
        return self.messages(
            "POST",
            "/build",
            data=context,
            params={**params, "buildargs": json.dumps(arguments), "labels": json.dumps(params["labels"])},
            headers=headers,
        )

    @property
    def is_cut(self) -> bool:
        return self._cut


def connect(
    endpoint: EngineEndpoint,
    *,
    version: str = "auto",
    timeout: float | None = REQUEST_TIMEOUT_SECONDS,
    opened: Callable[[Connection], object] = lambda connection: None,
) -> Connection:
    """Make a client; with `version="auto"` this asks the engine for its API version, otherwise nothing is sent.

    `opened` gets the connection before anything is sent, to cut it meanwhile.
    `timeout` in seconds of silence, `None` for no limit. Raises what docker-py raises; `errors.translate` knows it all.
    """
    from docker import APIClient, TLSConfig  # noqa: PLC0415 - slow to import, and not everybody uses an engine

    connection = Connection()
    opened(connection)
    # urllib3 keeps what a pool holds alive until the pool has gone; a way from there to the client, which holds the
    # pool, would keep both for ever.
    record = weakref.WeakMethod(connection.record)

    def tell(opened: Any) -> None:
        alive = record()
        if alive is not None:
            alive(opened)

    class RecordingClient(APIClient):
        """Hands each socket to its Connection, from the constructor's own request on."""

        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            # requests would let REQUESTS_CA_BUNDLE win over the CA that belongs to this engine.
            return super().merge_environment_settings(
                url, proxies, stream, self.verify if verify is None else verify, cert
            )

        def _retrieve_server_version(self) -> str:
            # `/version` takes Podman half a second, and a busy Docker some; this says all that is wanted of it.
            client: Any = self
            answer = client._get(client._url("/_ping", versioned_api=False))
            client._raise_for_status(answer)
            connection.server = str(answer.headers.get("Server", ""))
            said = answer.headers.get("Api-Version")
            return str(said or cast(Any, super())._retrieve_server_version())

        def _set_request_timeout(self, kwargs: Any) -> Any:
            seconds = getattr(_patience, "seconds", None)
            if seconds is not None:
                kwargs.setdefault("timeout", seconds)
            return cast(Any, super())._set_request_timeout(kwargs)

        def get_adapter(self, url: Any) -> Any:
            adapter = super().get_adapter(url)
            if "get_connection_with_tls_context" not in vars(adapter):
                _watch(adapter, tell)
            return adapter

    tls: Any = False
    if endpoint.tls:
        tls = TLSConfig(
            client_cert=(endpoint.cert, endpoint.key) if endpoint.cert and endpoint.key else None,
            ca_cert=endpoint.ca or None,
            verify=endpoint.verify,
        )
    asking: Any = GREETING_TIMEOUT_SECONDS if version == "auto" else timeout
    connection.client = RecordingClient(base_url=endpoint.url, version=version, timeout=asking, tls=tls)
    credentials.drop_missing(connection.client)
    connection.client.timeout = cast(int, timeout)  # the stubs know no None
    return connection


def _watch(adapter: Any, record: Callable[[Any], None]) -> None:
    """Make each pool of a requests adapter tell of the connections it opens."""
    get_pool = adapter.get_connection_with_tls_context

    def watched_pool(*args: Any, **kwargs: Any) -> Any:
        pool = get_pool(*args, **kwargs)
        if "_new_conn" not in vars(pool):
            new = pool._new_conn
            pool._new_conn = lambda: _watched_connection(new(), record)
        return pool

    adapter.get_connection_with_tls_context = watched_pool


def _watched_connection(connection: Any, record: Callable[[Any], None]) -> Any:
    plain_connect = connection.connect

    def connect_and_record() -> None:
        plain_connect()
        opened = connection.sock
        if isinstance(opened, socket.socket) and opened.family in (socket.AF_INET, socket.AF_INET6):
            # An event stream is silent for hours; without this a vanished remote engine would never be noticed.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        record(opened)

    connection.connect = connect_and_record
    return connection


def _shut(opened: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        opened.shutdown(socket.SHUT_RDWR)
