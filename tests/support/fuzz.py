"""What is asked of every answer when the OpenAPI document is fuzzed, whichever engine is behind the server."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from jupyter_mlenv.server.handlers import document

from .outer import OuterServer

BOUNDED = settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


CASES = [
    (verb, path, mode)
    for path, item in document()["paths"].items()
    for verb, operation in item.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & operation.keys()
]
"""Every operation, with data that fits the document; and with data that does not, where it takes any."""


def served_document(server: OuterServer) -> Any:
    """The schema of the document that the server serves."""
    return schemathesis.openapi.from_url(
        f"{server.origin}{server.base_url}mlenv/api/openapi.json",
        headers={"Authorization": f"token {server.token}"},
        config=SchemathesisConfig(),
    )


def fuzz(schema: Any, server: OuterServer, verb: str, path: str, mode: GenerationMode, **fixed: Any) -> None:
    """Some 30 requests to one operation, with data that fits the document or, in negative mode, does not."""
    operation = schema[path][verb]

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode, **fixed))
    def run(case: Case) -> None:
        conforms(case, server)

    run()


def conforms(case: Case, server: OuterServer) -> None:
    """Send it, and hold the answer against the document; the only server error there may be is "no engine"."""
    excluded = [schemathesis.checks.CHECKS.get_one("not_a_server_error")]
    if case.operation.label in ("POST /environments", "GET /watch"):
        # No JSON Schema can say that a path stays below the root directory, or that a request has to be an upgrade.
        excluded.append(positive_data_acceptance)
    answer = case.call_and_validate(headers={"Authorization": f"token {server.token}"}, excluded_checks=excluded)
    if answer.status_code >= 500:
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == "engine_unavailable", answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"code", "message", "hint", "details", "log"}, answer.text
        assert "Traceback" not in answer.text
