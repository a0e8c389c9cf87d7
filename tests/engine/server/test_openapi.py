"""The OpenAPI document, fuzzed against a server with the real engine: nothing is started, and nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schemathesis import GenerationMode

from tests.support.fuzz import CASES, fuzz, served_document
from tests.support.outer import OuterServer

STARTS = ("post", "/environments")


@pytest.fixture(scope="module")
def server(
    engine_ready: str, owner: str, run_root: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OuterServer]:
    """A real Jupyter server with our extension and the real engine, for an owner of this session."""
    traits = [f"--MlenvConfig.owner={owner}", f"--MlenvConfig.run_root={run_root}"]
    server = OuterServer(tmp_path_factory.mktemp("api"), base_url="/user/alice%40b/", arguments=traits)
    (server.folder / "project").mkdir()
    server.start(["jupyter_mlenv"])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def served(server: OuterServer) -> Any:
    return served_document(server)


@pytest.mark.parametrize(("verb", "path", "mode"), CASES)
def test_a_fuzzed_server_with_an_engine_behaves_as_documented(
    server: OuterServer, served: Any, verb: str, path: str, mode: GenerationMode
) -> None:
    # What fits the document could name a preset by chance; it is given one that no catalog has.
    valid_start = (verb, path) == STARTS and mode is GenerationMode.POSITIVE
    fuzz(served, server, verb, path, mode, **({"body": {"preset": "no-such-preset"}} if valid_start else {}))


def test_the_fuzzed_server_is_still_well_and_started_nothing(server: OuterServer, owner: str) -> None:
    from docker import APIClient

    from tests.support.leftovers import connect

    client: APIClient = connect()
    try:
        assert client.containers(all=True, filters={"label": f"jupyter-mlenv.owner={owner}"}) == []
    finally:
        client.close()
    assert "Traceback" not in server.log(), server.log()[-4000:]
    assert Path(f"/proc/{server.pid}").exists()
