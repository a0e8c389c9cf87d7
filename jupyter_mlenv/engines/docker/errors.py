"""The one place that turns what docker-py, the engine or a socket says into our errors."""

from __future__ import annotations

import re

from ...errors import (
    ContainerNotFound,
    EngineError,
    GpuUnavailable,
    ImageNotFound,
    MlenvError,
    NameConflict,
    RegistryUnreachable,
    SourceMissing,
)
from . import credentials
from .disk import FULL, disk_full
from .endpoint import EngineEndpoint
from .unreachable import causes, unreachable

_NO_DRIVER = (
    "could not select device driver",
    "unknown or invalid runtime name: nvidia",
    "unknown runtime specified nvidia",
)
_GPU = (
    *_NO_DRIVER,
    "nvidia-container",
    "libnvidia-ml",
    "unresolvable cdi devices",
)
_NO_IMAGE = (
    "manifest unknown",
    "manifest for ",
    "no such image",
    "pull access denied",
    "repository does not exist",
    "requested access to the resource is denied",
    "no match for platform in manifest",
    "no matching manifest",
    "does not match the specified platform",
    "invalid reference format",
    "unauthorized",
    "no active sessions",  # BuildKit, where a registry asks for a login
    "not found",
    "error parsing http 404",  # a mirror that answers with a page for people
)
_NO_REGISTRY = (
    "no such host",
    "dial tcp",
    "i/o timeout",
    "tls handshake",
    "x509:",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "server misbehaving",
    "name resolution",
    "proxyconnect",
    "context deadline exceeded",
    "request canceled while waiting",
    "http response to https client",
)
_BAD_REGISTRY = (
    "toomanyrequests",
    "unexpected status",
    "unexpected http",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "error parsing http",
    "eof",
)


def is_foreign(error: BaseException) -> bool:
    """Return whether an error is the engine's, for `translate`, and not a bug of ours."""
    from docker.credentials.errors import StoreError  # noqa: PLC0415 - whoever gets here has imported docker
    from docker.errors import DockerException  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    return isinstance(error, (DockerException, RequestException, HTTPError, OSError, StoreError))


def translate(error: BaseException, endpoint: EngineEndpoint, *, image: str = "", container: str = "") -> MlenvError:
    """Our error for one of docker-py's or of the socket's.

    `image` and `container` name what the call was about.
    """
    from docker.credentials.errors import StoreError  # noqa: PLC0415 - whoever gets here has imported docker
    from docker.errors import APIError  # noqa: PLC0415

    if isinstance(error, MlenvError):
        return error
    for cause in causes(error):
        if isinstance(cause, StoreError):
            return credentials.refused(str(cause))
        if isinstance(cause, APIError) and cause.status_code is not None:
            return from_message(str(cause.explanation or cause), cause.status_code, image=image, container=container)
    return unreachable(error, endpoint)


def from_message(text: str, status: int = 0, *, image: str = "", container: str = "") -> EngineError:
    """Classify the engine's own words; `status` is the HTTP status, 0 inside a stream."""
    text = " ".join(text.split())
    low = text.lower()
    if _has(low, FULL):
        return disk_full(text)
    if _has(low, _GPU):
        return GpuUnavailable(
            f"The engine cannot give a GPU to a container: {text}",
            hint="For a GPU, this machine needs the NVIDIA driver and the NVIDIA Container Toolkit.",
            details={"engine_message": text, "no_driver": _has(low, _NO_DRIVER)},
        )
    if container and status in (409, 500) and re.search(r"name .*is already in use", low):
        return NameConflict(f"The container name {container!r} is taken already.", details={"container": container})
    missing_mount = re.search(r"bind source path does not exist: (\S.*)$", text)
    if missing_mount:
        source = missing_mount.group(1)
        return SourceMissing(
            f"{source} cannot be mounted: the engine's host has no such file or directory.",
            hint="Correct the mount, or create that directory.",
            details={"source": source, "container": container},
        )
    if closed := re.search(r"mount.*stat (/.*): permission denied", text):
        return EngineError(
            f"{closed[1]} cannot be mounted: the engine may not look into it, though you may.",
            hint="A network or FUSE file system keeps root out unless it says `no_root_squash` or `allow_other`, and a "
            "rootless engine may enter only what your own account may. Use another folder, or allow it there.",
            details={"source": closed[1], "container": container},
        )
    missing_network = re.search(r"network (\S+) not found", low)
    if missing_network:
        return EngineError(
            f"The engine has no network {missing_network.group(1)}.",
            hint="`docker network ls` shows what there is; correct the preset's or the server's `network`.",
            details={"network": missing_network.group(1), "container": container},
        )
    if container and status >= 500:  # about a container no registry is asked: it is the engine's own trouble
        return engine_trouble(text, status)
    if image and _has(low, _NO_REGISTRY):
        return registry_unreachable(image, text)
    if image and (status == 404 or _has(low, _NO_IMAGE)):
        return image_not_found(image, text)
    if image and _has(low, _BAD_REGISTRY):
        return registry_unreachable(image, text)
    if container and (status == 404 or "no such container" in low):
        return ContainerNotFound(f"The engine has no container {container}.", details={"container": container})
    cpus = re.search(r"range of cpus is from ([\d.]+) to ([\d.]+)", low)
    if cpus:
        return EngineError(
            f"The engine has {float(cpus.group(2)):g} CPUs, and more were asked for.",
            hint=f"Ask for at most {float(cpus.group(2)):g} CPUs.",
            details={"available": float(cpus.group(2))},
        )
    return EngineError(f"The engine refused: {text}", details={"engine_message": text, "status": status})


def engine_trouble(text: str, status: int = 0) -> EngineError:
    """A failure of the engine itself, or of what stands between it and us."""
    return EngineError(
        f"The engine failed: {text}",
        hint="Its own log says more (for Docker `journalctl -u docker`); often a restart of the engine helps. "
        "Environments survive that.",
        details={"engine_message": text, "status": status},
    )


def image_not_found(image: str, text: str) -> ImageNotFound:
    """No such image here nor at its registry, or it may not be seen."""
    registry = registry_of(image)
    if text.lower().startswith("no such image"):
        return ImageNotFound(
            f"The engine does not have the image {image}.",
            hint="Start the environment again: a missing image is pulled or built then.",
            details={"image": image, "registry": registry, "engine_message": text},
        )
    why = "its registry asks for a login" if "no active sessions" in text else text
    return ImageNotFound(
        f"The image {image} was not found: {why}",
        hint=f"Check name and tag. If it is private, log in first: `docker login {registry}`.",
        details={"image": image, "registry": registry, "engine_message": text},
    )


def registry_unreachable(image: str, text: str) -> RegistryUnreachable:
    """The image's registry does not answer, or refuses for now (rate limit)."""
    registry = registry_of(image)
    limited = "toomanyrequests" in text.lower()
    message = f"limits the rate of pulls of {image}" if limited else f"cannot be reached for {image}"
    login = f"Log in (`docker login {registry}`) or wait; or" if limited else "Check the network, or"
    return RegistryUnreachable(
        f"The registry {registry} {message}: {text}",
        hint=f"{login} name a mirror in `image_aliases`, for example {{{registry!r}: 'mirror.example.org'}}.",
        details={"image": image, "registry": registry, "engine_message": text},
    )


def registry_of(reference: str) -> str:
    """The registry host of an image reference, `docker.io` where it names none.

    The rule of github.com/distribution/reference: the part before the first slash is a host if it has a dot or a
    colon, or is `localhost`.
    """
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def _has(text: str, fragments: tuple[str, ...]) -> bool:
    return any(fragment in text for fragment in fragments)
