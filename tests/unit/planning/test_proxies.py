"""A proxy on this machine's loopback is named as the reason of a build that could not reach it."""

from __future__ import annotations

import dataclasses

import pytest

from jupyter_mlenv.errors import BuildFailed
from jupyter_mlenv.images.ensure import with_proxies
from jupyter_mlenv.planning import proxies
from tests.unit.planning.test_plan import ANN

LOG = ["error: Could not connect to proxy", "Connection refused (os error 111)"]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:3128", True),
        ("localhost:3128", True),
        ("http://ann:secret@127.8.0.1:3128", True),
        ("http://[::1]:3128", True),
        ("http://proxy.test:3128", False),
        ("http://10.0.0.1:3128", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_loopback_is_known_in_every_form(url: str, local: bool) -> None:
    found = proxies.on_loopback({"https_proxy": url, "no_proxy": "localhost"})
    assert bool(found) is local
    assert "secret" not in str(found)


def test_only_a_refused_connection_is_explained_by_it() -> None:
    site = dataclasses.replace(ANN, proxies={"https_proxy": "http://127.0.0.1:3128"})
    refused, other = BuildFailed("x", hint="old", log=LOG), BuildFailed("x", hint="old", log=["no such package"])
    assert "loopback" in with_proxies(refused, site).hint
    assert with_proxies(refused, site).log == refused.log
    assert with_proxies(other, site).hint == "old"
    assert with_proxies(refused, ANN).hint == "old"
