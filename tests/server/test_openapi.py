"""The OpenAPI document is true: it names what the handlers have, and a server fuzzed by it behaves as it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schemathesis import GenerationMode

from jupyter_mlenv.engines.base import EngineFacts
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.environments.job import Job, JobKind
from jupyter_mlenv.environments.model import Environment, State
from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.presets.model import Consent, Endpoint, HostImage, Preset
from jupyter_mlenv.server import validation
from jupyter_mlenv.server.handlers import ROUTES, document
from tests.support.fuzz import CASES, fuzz, served_document
from tests.support.outer import OuterServer

VERBS = ("get", "post", "put", "patch", "delete")
SCHEMAS = document()["components"]["schemas"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OuterServer]:
    """A real Jupyter server with our extension on a machine where no engine answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///nonexistent/mlenv.sock")
        server = OuterServer(tmp_path_factory.mktemp("api"))
        (server.folder / "project").mkdir()
        server.start(["jupyter_mlenv"])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def served(server: OuterServer) -> Any:
    return served_document(server)


def test_the_document_has_the_handlers_paths_and_verbs() -> None:
    documented = {path: {verb for verb in VERBS if verb in item} for path, item in document()["paths"].items()}
    handled = {
        path: {verb.lower() for verb in handler.allowed_methods()} & set(VERBS)  # type: ignore[attr-defined]
        for path, handler in ROUTES
    }
    assert documented == handled


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Error", MlenvError("no").to_json()),
        ("Environment", Environment("a", "p", "T", "", "o", "/w", State.RUNNING, "i").to_json()),
        ("Job", Job(JobKind.START, "a", lambda job: None).to_json()),
        ("Progress", Job(JobKind.START, "a", lambda job: None).to_json()["progress"]),
        ("Preset", Preset("p", "P", HostImage()).to_json(None)),
        ("Consent", Consent("/w/mlenv.toml", "/w", "0" * 64).to_json()),
        ("EngineFacts", {field.name for field in dataclasses.fields(EngineFacts)}),
        (
            "Endpoint",
            Environment(
                "a", "p", "T", "", "o", "/w", State.RUNNING, "i", endpoints=(Endpoint("n", "N", ()),)
            ).to_json()["endpoints"]["n"],
        ),
    ],
)
def test_an_object_has_exactly_the_documented_members(name: str, body: Any) -> None:
    assert set(SCHEMAS[name]["properties"]) == set(body) == set(SCHEMAS[name]["required"])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("StartRequest", validation.START_FIELDS),
        ("EndpointRequest", validation.ENDPOINT_FIELDS),
        ("ConsentRequest", validation.CONSENT_FIELDS),
        ("Mount", validation.MOUNT_FIELDS),
        ("WatchCommand", validation.WATCH_COMMAND_FIELDS),
    ],
)
def test_a_request_has_exactly_the_documented_fields(name: str, fields: tuple[str, ...]) -> None:
    assert set(SCHEMAS[name]["properties"]) == set(fields)
    assert SCHEMAS[name]["additionalProperties"] is False


def test_the_documents_limits_are_the_codes_limits() -> None:
    properties = SCHEMAS["StartRequest"]["properties"]
    size = properties["memory"]["oneOf"][0]
    assert (size["minimum"], size["maximum"]) == (validation.SMALLEST_MEMORY_BYTES, validation.MAX_MEMORY_BYTES)
    assert properties["name"]["maxLength"] == validation.MAX_NAME_CHARS
    assert properties["path"]["maxLength"] == validation.MAX_TEXT_CHARS
    assert {field.name for field in dataclasses.fields(Mount)} == set(validation.MOUNT_FIELDS)
    states = SCHEMAS["Environment"]["properties"]["state"]["enum"]
    assert states == [state.value for state in State]


def test_the_served_document_names_the_server(served: Any, server: OuterServer) -> None:
    assert served.raw_schema["servers"][0]["url"] == f"{server.base_url}mlenv/api"
    served.validate()


def test_nothing_is_answered_without_a_login(server: OuterServer, served: Any) -> None:
    import urllib.error
    import urllib.request

    for path, _ in ROUTES:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.origin}{server.base_url}mlenv/api{path.replace('{id}', 'a')}")
        assert refused.value.code == 403


@pytest.mark.parametrize(("verb", "path", "mode"), CASES)
def test_a_fuzzed_server_without_an_engine_behaves_as_documented(
    server: OuterServer, served: Any, verb: str, path: str, mode: GenerationMode
) -> None:
    fuzz(served, server, verb, path, mode)


def test_the_fuzzed_server_is_still_well(server: OuterServer) -> None:
    log = server.log()
    assert "Traceback" not in log, log[-4000:]
    assert Path(f"/proc/{server.pid}").exists()
