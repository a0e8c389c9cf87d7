"""Credential helpers of the docker configuration: programs that keep logins for registries.

Docker Desktop and WSL leave the name of one behind that is not there any more. docker-py then fails in every build, and
in pulls of images that need no login.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...errors import EngineError

PREFIX = "docker-credential-"
"""The beginning of the names of these programs."""


def missing(config: Mapping[str, Any]) -> list[str]:
    """The programs that a docker configuration names and that are not on the search path."""
    named = [config.get("credsStore"), *_helpers(config).values()]
    programs = dict.fromkeys(f"{PREFIX}{name}" for name in named if isinstance(name, str) and name)
    return [program for program in programs if shutil.which(program) is None]


def missing_here() -> list[str]:
    """The missing programs of this person's configuration, which is read."""
    from docker.utils.config import load_general_config  # noqa: PLC0415 - slow to import

    return missing(load_general_config())


def drop_missing(client: Any) -> None:
    """Have a client of docker-py forget those: images that need no login are pulled and built without."""
    from docker.auth import AuthConfig  # noqa: PLC0415 - there is a client, so it is imported

    class Known(AuthConfig):
        """Logins that are not read again where there are none: docker-py would find the helper again."""

        is_empty = False

    kept = without_missing(client._auth_configs)
    if kept != client._auth_configs:
        client._auth_configs = Known(kept)


def without_missing(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the helpers that are missing."""
    gone = set(missing(config))
    kept = {key: value for key, value in config.items() if key != "credsStore" or f"{PREFIX}{value}" not in gone}
    if "credHelpers" in kept:
        kept["credHelpers"] = {h: name for h, name in _helpers(config).items() if f"{PREFIX}{name}" not in gone}
    return kept


def add_logins(client: Any, headers: dict[str, str]) -> None:
    """Add the logins for all registries to the headers of a build; without those that a helper does not give."""
    from docker.credentials.errors import StoreError  # noqa: PLC0415 - there is a client, so it is imported
    from docker.errors import DockerException  # noqa: PLC0415

    with suppress(StoreError, DockerException):
        client._set_auth_headers(headers)


def refused(text: str) -> EngineError:
    """The error of a helper that is there and fails."""
    return EngineError(
        f"The login for the image's registry cannot be read, since a credential helper of docker failed: {text}",
        hint="See `credsStore` and `credHelpers` in ~/.docker/config.json: take the helper out if you need no login, "
        "or log in anew with `docker login`.",
        details={"engine_message": text},
    )


def _helpers(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("credHelpers")
    return found if isinstance(found, dict) else {}
