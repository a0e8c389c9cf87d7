"""The engine's own words become errors that say what to do. The texts are those of real engines and registries."""

from __future__ import annotations

import errno
import json

import docker.errors
import pytest
import requests

from jupyter_mlenv import errors
from jupyter_mlenv.engines.docker.build import base_images, build_error
from jupyter_mlenv.engines.docker.classic import ClassicProgress
from jupyter_mlenv.engines.docker.endpoint import EngineEndpoint
from jupyter_mlenv.engines.docker.errors import from_message, registry_of, translate
from jupyter_mlenv.engines.docker.unreachable import start_hint

LOCAL = EngineEndpoint("unix:///var/run/docker.sock", "the default socket")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", errors.DiskFull),
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host', "registry"),
        ('Get "https://r.example/v2/": net/http: TLS handshake timeout', "registry"),
        ('Get "https://r.example/v2/": x509: certificate signed by unknown authority', "registry"),
        ("toomanyrequests: You have reached your pull rate limit.", "registry"),
        ("received unexpected HTTP status: 503 Service Unavailable", "registry"),
        ("manifest for python:9.99 not found: manifest unknown: manifest unknown", errors.ImageNotFound),
        (
            "pull access denied for nobody/x, repository does not exist or may require 'docker login'",
            errors.ImageNotFound,
        ),
        ('Get "https://r.example/v2/x/manifests/1": unauthorized: authentication required', errors.ImageNotFound),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", errors.ImageNotFound),
        ("something new", errors.EngineError),
    ],
)
def test_a_pull_that_fails(text: str, kind: type[errors.EngineError] | str) -> None:
    error = from_message(text, image="r.example/team/x:1")
    assert type(error) is (errors.RegistryUnreachable if kind == "registry" else kind)
    assert text in error.message
    if type(error) is not errors.EngineError:
        assert error.hint
    if kind == "registry":
        assert error.details["registry"] == "r.example"
        assert "'r.example'" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        'could not select device driver "" with capabilities: [[gpu]]',
        "Unknown runtime specified nvidia",
        "OCI runtime create failed: … nvidia-container-cli: initialization error: nvml error: driver not loaded",
    ],
)
def test_a_gpu_that_cannot_be_had(text: str) -> None:
    error = from_message(text, 500, container="c")
    assert isinstance(error, errors.GpuUnavailable)
    assert "NVIDIA Container Toolkit" in error.hint


def test_the_rate_limit_is_no_network_trouble() -> None:
    error = from_message("toomanyrequests: You have reached your pull rate limit.", image="python:3")
    assert "docker login docker.io" in error.hint
    assert "Check the network" not in error.hint


def test_a_name_that_is_taken_and_another_conflict() -> None:
    text = 'Conflict. The container name "/a" is already in use by container "b". You have to remove that container'
    assert isinstance(from_message(text, 409, image="x:1", container="a"), errors.NameConflict)
    other = from_message("conflict: unable to remove repository reference (container b is using it)", 409, image="x:1")
    assert type(other) is errors.EngineError


def test_registry_of_a_reference() -> None:
    for reference, host in (
        ("python", "docker.io"),
        ("team/x:1", "docker.io"),
        ("localhost/x", "localhost"),
        ("r.example:5000/a/b@sha256:0", "r.example:5000"),
        ("127.0.0.1:5/x", "127.0.0.1:5"),
    ):
        assert registry_of(reference) == host


def nested(cause: BaseException) -> docker.errors.DockerException:
    """As docker-py and requests wrap what a socket says."""
    error = docker.errors.DockerException(f"Error while fetching server API version: {cause}")
    error.__cause__ = requests.exceptions.ConnectionError("Connection aborted.", cause)
    return error


def test_what_a_socket_says() -> None:
    permission = translate(nested(PermissionError(13, "Permission denied")), LOCAL)
    assert isinstance(permission, errors.EnginePermission)
    assert "sudo usermod -aG docker $USER" in permission.hint
    for cause, words in (
        (FileNotFoundError(2, "No such file"), "no such socket"),
        (ConnectionRefusedError(111, "refused"), "nothing listens"),
        (TimeoutError("timed out"), "in time"),
    ):
        error = translate(nested(cause), LOCAL)
        assert type(error) is errors.EngineUnavailable
        assert words in error.message
        assert LOCAL.url in error.message


def test_the_engines_own_trouble_is_no_registrys() -> None:
    """A proxy in front of the engine, or the engine itself, fails while a container is made."""
    for text in ("Bad Gateway", "unexpected EOF", "failed to create shim task: context deadline exceeded"):
        error = from_message(text, 502, image="r.example/x:1", container="mlenv-a")
        assert type(error) is errors.EngineError
        assert error.message == f"The engine failed: {text}"
        assert "log" in error.hint
    missing = from_message("No such image: r.example/x:1", 404, image="r.example/x:1", container="mlenv-a")
    assert isinstance(missing, errors.ImageNotFound)


@pytest.mark.parametrize(
    "text",
    [
        'process "/bin/sh -c pip" did not complete successfully: network bridge not found',
        "failed to solve: failed to set up container networking: driver failed",
        "runc run failed: unable to start container process: cgroup",
    ],
)
def test_a_build_that_the_engine_could_not_run_blames_no_package(text: str) -> None:
    progress = ClassicProgress(lambda step: step)
    progress.feed({"stream": "Step 1/2 : RUN pip install x\n"})
    error = build_error(progress, text)
    assert type(error) is errors.EngineError
    assert "packages" not in error.hint


def test_a_step_that_was_killed_wants_memory() -> None:
    progress = ClassicProgress(lambda step: step)
    progress.feed({"stream": "Step 1/2 : RUN make\n"})
    killed = build_error(progress, "The command '/bin/sh -c make' returned a non-zero code: 137")
    assert "memory" in killed.hint


def test_what_answers_without_being_an_engine_is_no_number() -> None:
    error = translate(docker.errors.DockerException("x", json.JSONDecodeError("Expecting value", "<html>", 7)), LOCAL)
    assert "does not speak Docker's API" in error.message
    full = translate(OSError(errno.EMFILE, "Too many open files"), LOCAL)
    assert "no file descriptor left" in full.message


def test_an_error_of_ours_stays() -> None:
    ours = errors.DiskFull("full")
    assert translate(ours, LOCAL) is ours


def test_ssh_without_paramiko() -> None:
    ssh = EngineEndpoint("ssh://me@far", "DOCKER_HOST")
    error = translate(docker.errors.DockerException("Install paramiko package to enable ssh:// support"), ssh)
    assert "pip install paramiko" in error.hint


def test_how_to_get_an_engine() -> None:
    assert "DOCKER_HOST" in start_hint(EngineEndpoint("tcp://x", "DOCKER_HOST"), {})
    assert "docker context use" in start_hint(EngineEndpoint("tcp://x", "the docker context 'x'"), {})
    assert "Binder" in start_hint(LOCAL, {"JUPYTERHUB_API_URL": "http://hub"})
    assert "ocker" in start_hint(LOCAL, {})


def test_a_step_that_filled_the_disk() -> None:
    progress = ClassicProgress()
    progress.feed({"stream": "Step 2/2 : RUN pip install big\nERROR: [Errno 28] No space left on device\n"})
    error = build_error(progress, "The command '/bin/sh -c pip install big' returned a non-zero code: 1")
    assert isinstance(error, errors.DiskFull)
    assert "docker builder prune" in error.hint


def test_the_base_images_of_a_dockerfile() -> None:
    text = """\
ARG VERSION=3.12
ARG REGISTRY
FROM --platform=linux/amd64 python:${VERSION} AS build
RUN echo "FROM nowhere"
FROM scratch AS empty
from $REGISTRY/x:1
FROM build
FROM ${UNKNOWN}/y
"""
    assert base_images(text, {}) == ["python:3.12"]
    assert base_images(text, {"REGISTRY": "r.example", "VERSION": "3"}) == ["python:3", "r.example/x:1"]


def test_a_folder_that_the_engine_does_not_have() -> None:
    text = 'invalid mount config for type "bind": bind source path does not exist: /home/alice/my project'
    error = from_message(text, 400, container="c")
    assert isinstance(error, errors.SourceMissing)
    assert error.details["source"] == "/home/alice/my project"


def test_a_folder_that_the_engine_may_not_look_into() -> None:
    text = 'invalid mount config for type "bind": stat /mnt/big data/x: permission denied'
    error = from_message(text, 400, container="c")
    assert error.message == "/mnt/big data/x cannot be mounted: the engine may not look into it, though you may."
    assert "root" in (error.hint or "")
