"""Requests of a browser through a real Jupyter server into real containers: what passes, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager

import aiohttp
import pytest
from yarl import URL

from tests.support.environments import BOX, ECHO, by_hand, inspected
from tests.support.lab import Lab, owned_by_person, running_lab
from tests.support.leftovers import connect
from tests.support.people import BASE_URL, Answer, Person, ended, launch, person_at

PORT = "5099"
"""Where a program listens that nobody declared as an endpoint."""


@pytest.fixture(scope="module")
def lab(owner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server with the preset `box`, and a project for it."""
    presets = tmp_path_factory.mktemp("presets")
    (presets / "box.toml").write_text(f"schema = 1\n{BOX}")
    with running_lab(owner, base_url=BASE_URL, options=[f"--MlenvConfig.preset_paths={presets}"]) as lab:
        (lab.root_dir / "project").mkdir()
        (lab.root_dir / "project" / "pyproject.toml").touch()
        owned_by_person(lab, lab.root_dir / "project")
        yield lab
        lab.tidy()


@pytest.fixture(scope="module")
def box(lab: Lab) -> str:
    """The id of an environment that runs."""
    return str(launch(lab, "box", "project")["id"])


@pytest.fixture
async def person(lab: Lab) -> AsyncIterator[Person]:
    async with person_at(lab) as person:
        yield person


@contextmanager
def listening(box: str, code: str, port: str) -> Iterator[bytes]:
    """What a program of the person says once it listens; it runs until the container ends."""
    python = (inspected(box)["Config"]["Entrypoint"] or inspected(box)["Config"]["Cmd"])[0]
    with closing(connect()) as client:
        begun = client.exec_create(f"mlenv-{box}", [python, "-u", "-c", code, port])
        said = next(client.exec_start(begun["Id"], stream=True))
        assert b"listening" in said
        yield said


@pytest.fixture(scope="module")
def port(box: str) -> Iterator[str]:
    """A port of the container's loopback that a program of the person listens on, until the container ends."""
    with listening(box, ECHO, PORT):
        yield PORT


@pytest.mark.parametrize("endpoint", ["echo", "echoport", PORT])
async def test_nothing_of_the_outer_server_reaches_a_container(
    person: Person, box: str, port: str, endpoint: str
) -> None:
    assert port == PORT
    xsrf = person.cookies["_xsrf"]
    disguise = {
        "Cookie": person.headers()["Cookie"] + "; mine=1; jupyterhub-session-id=hub; _oauth2_proxy=sso",
        "Authorization": f"token {person.lab.token}",
        "X-XSRFToken": xsrf,
        "Referer": f"{person.lab.url}lab?token={person.lab.token}",
        "X-Forwarded-Access-Token": "sso-token",
        "X-Mine": "stays",
    }
    query = f"deep/page?a=1&token={person.lab.token}&_xsrf={xsrf}&b=%2F"
    forbidden = [*person.secrets(), "sso", "hub", "XSRF", "Authorization"]
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        body = None if method in ("GET", "DELETE") else b"the body"
        answer = await person.request(method, person.url(box, endpoint, query), person.headers(disguise), data=body)
        assert answer.status == 200, answer.text
        assert [word for word in forbidden if word in answer.text] == []
        seen = answer.json
        assert seen["uri"] == f"{BASE_URL}mlenv/envs/{box}/{endpoint}/deep/page?a=1&b=%2F"
        assert seen["body"] == ("the body" if body else "")
        assert ["X-Mine", "stays"] in seen["headers"]
        assert ["Cookie", "mine=1"] in seen["headers"]

    async with person.socket(person.url(box, endpoint, "ws"), person.headers(disguise)) as socket:
        told = (await socket.receive()).data
        assert [word for word in forbidden if word in told] == []
        assert "mine=1" in told
        await socket.send_str("and back")
        assert (await socket.receive()).data == "and back"


async def test_another_web_site_gets_nothing_done(person: Person, box: str) -> None:
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for endpoint in ("echo", "notebook"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await person.request(method, person.url(box, endpoint, "api/kernels"), person.headers(other))
            assert_refused(answer, 403)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with person.socket(person.url(box, endpoint, "ws"), person.headers(other)):
                pass
        assert refused.value.status == 403


async def test_somebody_who_is_not_logged_in_gets_nowhere(person: Person, box: str) -> None:
    for method in ("GET", "POST"):
        assert_refused(await person.request(method, person.url(box, "echo"), {"Origin": person.origin}), 403)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with person.socket(person.url(box, "echo", "ws"), {"Origin": person.origin}):
            pass
    assert refused.value.status == 403
    page = await person.get(person.url(box, "echo"), {"Accept": "text/html"})
    assert page.status == 302
    assert dict(page.headers)["Location"].startswith(f"{BASE_URL}login?")


async def test_addresses_that_are_not_ours(person: Person, box: str) -> None:
    for id, endpoint, code in (
        ("box-0000000000", "echo", "environment_not_found"),
        ("..%2F..%2Fetc", "echo", "environment_not_found"),
        ("mlenv-" + box, "echo", "environment_not_found"),
        (inspected(box)["Id"][:12], "echo", "environment_not_found"),
        (box, "nothing", "endpoint_not_found"),
        (box, "0", "endpoint_not_found"),
        (box, "70000", "endpoint_not_found"),
        (box, "127.0.0.1:22", "endpoint_not_found"),
    ):
        answer = await person.get(person.url(id, endpoint))
        assert_refused(answer, 404)
        assert answer.json["code"] == code, (id, endpoint)
    answer = await person.get(person.url(box, "5999"))
    assert_refused(answer, 502)
    assert box in answer.json["message"]


SITE = """
import http.server, os, socket, sys
os.chdir(os.environ["HOME"])
with open("index.html", "w") as file:
    file.write("<a href='next.html'>next</a>")
os.makedirs("sub", exist_ok=True)
address = socket.gethostbyname(socket.gethostname())
server = http.server.ThreadingHTTPServer((address, int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
print("listening at", address, flush=True)
server.serve_forever()
"""


async def test_a_web_server_that_knows_of_no_prefix(person: Person, lab: Lab, box: str) -> None:
    """Python's own, on the container's own address only; it sends folders on to `/sub/`."""
    with listening(box, SITE, "5098") as said:
        assert b"127." not in said, "it is another address than the loopback's"
    app = f"{lab.url}mlenv/apps/{box}/5098/"
    page = await person.get(URL(f"{app}index.html", encoded=True))
    assert (page.status, page.text) == (200, "<a href='next.html'>next</a>")
    folder = await person.get(URL(f"{app}sub", encoded=True))
    assert (folder.status, dict(folder.headers)["Location"]) == (301, f"{BASE_URL}mlenv/apps/{box}/5098/sub/")
    whole = await person.get(person.url(box, "5098", "index.html"))
    assert whole.status == 404, "at the other address it is asked for the whole path"


async def test_services_that_fail_say_why_in_the_tab(person: Person, box: str) -> None:
    answer = await person.get(person.url(box, "exits"))
    assert_refused(answer, 502)
    assert (answer.json["code"], answer.json["hint"]) == ("service_exited", "Mend it.")
    assert "the reason" in answer.json["log"]
    page = await person.get(person.url(box, "exits"), person.headers({"Accept": "text/html"}))
    assert (page.status, "the reason" in page.text, "Mend it." in page.text) == (502, True, True)
    answer = await person.get(person.url(box, "silent"))
    assert_refused(answer, 504)
    assert answer.json["code"] == "service_timeout"


async def test_a_container_killed_under_an_open_tab(person: Person, lab: Lab, box: str) -> None:
    assert (await person.get(person.url(box, "echo"))).status == 200
    async with person.socket(person.url(box, "echo", "ws")) as socket:
        await socket.receive()
        by_hand("kill", box)
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
    answer = await person.get(person.url(box, "echo"))
    assert_refused(answer, 409)
    assert answer.json["code"] == "environment_not_running"
    assert answer.json["hint"]
    accepted = await asyncio.to_thread(lab.request, "POST", f"mlenv/api/environments/{box}/start", {})
    await asyncio.to_thread(ended, lab, accepted["job"]["id"])
    assert (await person.get(person.url(box, "echo"))).status == 200


def assert_refused(answer: Answer, status: int) -> None:
    """The error object, and no trace of a container or of our insides."""
    assert answer.status == status, answer.text
    assert set(answer.json) == {"code", "message", "hint", "details", "log"}
    assert "Traceback" not in answer.text
