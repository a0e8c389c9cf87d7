"""Redirects of a service lead to itself from the browser too."""

from __future__ import annotations

import pytest

from jupyter_mlenv.proxy import redirects

BASE = "/user/alice%40b/mlenv/envs/e-1/8001/"
HOSTS = redirects.own_hosts("lab.example.org:8888", "8001")


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("/login", f"{BASE}login"),
        ("/", BASE),
        ("/a%2Fb?next=/x#top", f"{BASE}a%2Fb?next=/x#top"),
        ("http://127.0.0.1:8001/login", f"{BASE}login"),
        ("http://localhost:8001", BASE),
        ("HTTP://LOCALHOST:8001/x", f"{BASE}x"),
        ("http://[::1]:8001/x", f"{BASE}x"),
        ("http://0.0.0.0:8001/x", f"{BASE}x"),
        ("//127.0.0.1:8001/x", f"{BASE}x"),
        # It builds addresses from the Host that it gets, and cannot know of TLS in front.
        ("http://lab.example.org:8888/login", f"{BASE}login"),
        (f"http://lab.example.org:8888{BASE}login?a", f"{BASE}login?a"),
    ],
)
def test_what_leads_to_the_service_leads_there(said: str, seen: str) -> None:
    assert redirects.location(said, BASE, HOSTS) == seen


@pytest.mark.parametrize(
    "said",
    [
        "login",
        "../x",
        "",
        "?a=1",
        f"{BASE}login",
        BASE,
        BASE.rstrip("/"),
        "/user/alice%40b/mlenv/envs/e-1/tensorboard/",
        "/user/alice%40b/mlenv/apps/e-1/8001/x",
        "https://accounts.example.com/login?redirect=/x",
        "http://127.0.0.1:8002/x",
        "//example.com/x",
        "mailto:ann@example.org",
        "javascript:alert(1)",
        "ftp://127.0.0.1:8001/x",
        "http://[::1",
    ],
)
def test_all_else_stays_as_it_is(said: str) -> None:
    assert redirects.location(said, BASE, HOSTS) == said


def test_a_hostile_field_is_read_once() -> None:
    """Of the length that a head may have: what takes a square of that would stand still for minutes."""
    long = 60_000
    assert redirects.refresh("0;" + " " * long + "/x", BASE, HOSTS) == "0;" + " " * long + f"{BASE}x"
    assert redirects.refresh("0" * long, BASE, HOSTS) == "0" * long
    assert redirects.refresh("0; url=" + "'" * long, BASE, HOSTS) == "0; url=''"
    assert redirects.location("/" * long, BASE, HOSTS) == BASE


def test_only_a_port_is_known_to_be_meant_by_this_machine() -> None:
    hosts = redirects.own_hosts("host", "notebook")
    assert redirects.location("http://localhost:8888/x", BASE, hosts) == "http://localhost:8888/x"


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("0; url=/login", f"0; url={BASE}login"),
        ("5;URL='/login'", f"5;URL='{BASE}login'"),
        ("1, http://localhost:8001/a", f"1, {BASE}a"),
        ("30", "30"),
        ("0; url=next", "0; url=next"),
        ("soon; url=/x", "soon; url=/x"),
        (' 0 ; url = "/x" ', f'0 ; url = "{BASE}x"'),
        ("0; url='/x' and more", f"0; url='{BASE}x'"),
        ("0; url='/x", f"0; url='{BASE}x'"),
    ],
)
def test_a_refresh_is_a_redirect_too(said: str, seen: str) -> None:
    assert redirects.refresh(said, BASE, HOSTS) == seen
