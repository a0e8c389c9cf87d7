"""The ports of an environment on which something listens that nobody declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import urls
from . import answers

MAX_PORTS = 200
"""As many as an agent tells of."""


@dataclass(frozen=True)
class ListeningPort:
    """A port, and the name of the program that listens on it."""

    port: int
    name: str

    def to_json(self, server_base_url: str, environment: str) -> dict[str, Any]:
        """The port object of the REST API: `app` is for a program that knows of no prefix, `url` for one that does."""
        port = str(self.port)
        return {
            "port": self.port,
            "name": self.name,
            "app": urls.app_url(server_base_url, environment, port),
            "url": urls.endpoint_url(server_base_url, environment, port),
        }


def read(answer: Mapping[str, Any]) -> list[ListeningPort]:
    """The answer of `GET /v1/ports`. Raises ValueError."""
    listed = answers.records(answer, "ports")
    found = [ListeningPort(answers.number(one, "port"), answers.word(one, "name")) for one in listed]
    if not all(urls.is_port(str(one.port)) for one in found):
        raise ValueError("a port is none")
    return found[:MAX_PORTS]
