"""The blocking calls, each a function of docker-py's low-level client; they run in the adapter's threads."""

from __future__ import annotations

import codecs
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...errors import EngineError
from ..base import ContainerInfo, ImageInfo
from ..model import FileEntry
from . import containers as shapes
from . import images as image_shapes
from .connection import Connection
from .lines import Lines

if TYPE_CHECKING:
    from docker import APIClient


LOG = logging.getLogger("jupyter_mlenv")

MAX_SMALL_FILE_BYTES = 1 << 20
"""Bytes of the archive of a small file of a container, which whatever runs in there may have replaced."""


def create(client: APIClient, name: str, body: dict[str, Any]) -> ContainerInfo:
    made = cast(Any, client).create_container_from_config(body, name=name)
    return shapes.from_inspect(client.inspect_container(made["Id"]), made.get("Warnings") or ())


def remove_created(client: APIClient, info: ContainerInfo) -> None:
    client.remove_container(info.id, v=True, force=True)


def put_files(client: APIClient, id: str, files: Sequence[FileEntry]) -> None:
    client.put_archive(id, "/", shapes.pack(files))


def read_file(client: APIClient, id: str, path: str) -> bytes:
    chunks, _ = client.get_archive(id, path)
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_SMALL_FILE_BYTES:
            raise EngineError(f"{path} in container {id} is too large.", details={"container": id, "path": path})
    return shapes.unpack_one(data, id, path)


def start(client: APIClient, id: str) -> ContainerInfo:
    """Start it, or let one that somebody paused go on."""
    from docker.errors import APIError  # noqa: PLC0415 - there is a client, so it is imported

    try:
        client.start(id)
    except APIError as error:
        if error.status_code != 409 or "paused" not in str(error.explanation):
            raise
        client.unpause(id)
    return inspect(client, id)


def stop(client: APIClient, id: str, timeout: int) -> None:
    client.stop(id, timeout=timeout)


def remove(client: APIClient, id: str) -> None:
    """Also waits out a removal that somebody else has begun: the name is free afterwards."""
    from docker.errors import APIError, NotFound  # noqa: PLC0415 - there is a client, so it is imported

    try:
        client.remove_container(id, v=True, force=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409 or "already in progress" not in str(error.explanation):
            raise
        client.wait(id, condition="removed")


def containers(client: APIClient, labels: Mapping[str, str]) -> list[ContainerInfo]:
    """All with these labels. One in no known form is logged and left out: it hides no other."""
    found = []
    for entry in client.containers(all=True, filters=shapes.label_filter(labels)):
        try:
            found.append(shapes.from_list(entry))
        except EngineError as error:
            LOG.warning("A container is left out. %s", error.message)
    return found


def inspect(client: APIClient, id: str) -> ContainerInfo:
    return shapes.from_inspect(client.inspect_container(id))


def image(client: APIClient, reference: str) -> ImageInfo:
    return image_shapes.from_inspect(cast(Any, client).inspect_image(reference))


def images(client: APIClient, labels: Mapping[str, str]) -> list[ImageInfo]:
    return [image_shapes.from_list(entry) for entry in client.images(filters=shapes.label_filter(labels))]


def build_cache(client: APIClient) -> int:
    """Bytes; parts that images share are counted with those."""
    parts = client.df().get("BuildCache") or ()
    return sum(part.get("Size", 0) for part in parts if not part.get("InUse") and not part.get("Shared"))


def empty_build_cache(client: APIClient) -> int:
    return int(client.prune_builds(all=True).get("SpaceReclaimed") or 0)


def read_import(
    reference: str, tar: bytes | Path, changes: Sequence[str], connection: Connection
) -> Iterator[dict[str, Any]]:
    """Send the tar, then yield the engine's messages; a file is streamed. `changes`: instructions of a Dockerfile."""
    from docker.utils import parse_repository_tag  # noqa: PLC0415 - there is a client, so it is imported

    repository, tag = parse_repository_tag(reference)
    with io.BytesIO(tar) if isinstance(tar, bytes) else tar.open("rb") as content:
        answer = connection.client.import_image_from_data(content, repository, tag or "latest", changes=list(changes))
    yield from (json.loads(line) for line in str(answer).splitlines() if line.strip())


def has_credentials(client: APIClient, reference: str) -> bool:
    """Return whether the docker configuration has a login for the image's registry. May ask a credential helper."""
    from docker.auth import get_config_header, resolve_repository_name  # noqa: PLC0415 - there is a client

    registry, _ = resolve_repository_name(reference)
    return bool(get_config_header(client, registry))


def remove_image(client: APIClient, reference: str) -> None:
    client.remove_image(reference)


def cancel_build(client: APIClient, build_id: str) -> None:
    helpers = cast(Any, client)  # docker-py has no call for it
    helpers._raise_for_status(helpers._post(helpers._url("/build/cancel"), params={"id": build_id}))


def read_logs(container: str, tail: int, follow: bool, connection: Connection) -> Iterator[str]:
    """Lines of both output streams in the order the engine has them, without their ends."""
    client = connection.client
    if follow:
        chunks: Iterable[bytes] = client.logs(container, stream=True, follow=True, tail=tail)
    else:
        chunks = [client.logs(container, stream=False, follow=False, tail=tail)]
    yield from split_lines(chunks)


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines of UTF-8 text that arrives in pieces cut anywhere; what is no UTF-8 becomes U+FFFD.

    A carriage return ends a line too, as a progress bar means it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    lines = Lines()
    for chunk in chunks:
        yield from lines.feed(decoder.decode(chunk))
    yield from lines.feed(decoder.decode(b"", final=True))
    if last := lines.take():
        yield last
