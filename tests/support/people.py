"""A person at a browser: logged in to the outer server, using what is inside an environment through it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
from yarl import URL

from tests.support.lab import Lab
from tests.support.waiting import wait_until

BASE_URL = "/user/alice%40b/"
"""As a hub gives them to people with an @ in their name."""


def launch(lab: Lab, preset: str, path: str) -> dict[str, Any]:
    """Start an environment as the launcher does, and wait until it runs."""
    accepted = lab.request("POST", "mlenv/api/environments", {"preset": preset, "path": path})
    ended(lab, accepted["job"]["id"])
    found: dict[str, Any] = lab.request("GET", f"mlenv/api/environments/{accepted['environment']['id']}")
    assert found["state"] == "running", found
    return found


def ended(lab: Lab, job: str) -> dict[str, Any]:
    """The job, done."""

    def now() -> dict[str, Any] | None:
        found: dict[str, Any] = lab.request("GET", f"mlenv/api/jobs/{job}")
        return found if found["state"] != "running" else None

    done = wait_until(now, f"job {job} has ended", timeout=120)
    assert done is not None
    assert done["state"] == "done", done["error"]
    return done


@dataclass
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Person:
    """Requests carry the login cookie and what a page of the server sends; all answers' headers are kept."""

    lab: Lab
    session: aiohttp.ClientSession
    cookies: dict[str, str]
    answered: list[tuple[str, str]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return "/".join(self.lab.url.split("/")[:3])

    def secrets(self) -> list[str]:
        """What no container may get to see."""
        return [self.lab.token, *self.cookies.values()]

    def url(self, id: str, endpoint: str, rest: str = "") -> URL:
        return URL(f"{self.lab.url}mlenv/envs/{id}/{endpoint}/{rest}", encoded=True)

    def headers(self, more: dict[str, str] | None = None) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies, "Origin": self.origin, "Sec-Fetch-Site": "same-origin", **(more or {})}

    async def request(self, method: str, url: URL, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """An answer; redirects are not followed."""
        given = self.headers() if headers is None else headers
        async with self.session.request(method, url, headers=given, allow_redirects=False, **options) as answer:
            found = list(answer.headers.items())
            self.answered += found
            return Answer(answer.status, found, await answer.text())

    async def get(self, url: URL, headers: dict[str, str] | None = None) -> Answer:
        return await self.request("GET", url, headers)

    def socket(self, url: URL, headers: dict[str, str] | None = None) -> Any:
        """A WebSocket, as an `async with`."""
        return self.session.ws_connect(url, headers=self.headers() if headers is None else headers, max_msg_size=0)

    async def execute(self, id: str, code: str, kernel: str = "") -> str:
        """What a cell printed, run by a kernel of the environment's own JupyterLab; a new one unless it is named."""
        if not kernel:
            made = await self.request("POST", self.url(id, "notebook", "api/kernels"), json={})
            assert made.status == 201, made.text
            kernel = made.json["id"]
        session = uuid.uuid4().hex
        header = {"msg_id": uuid.uuid4().hex, "username": "", "session": session, "msg_type": "execute_request"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content}
        printed = ""
        async with self.socket(self.url(id, "notebook", f"api/kernels/{kernel}/channels?session_id={session}")) as ws:
            await ws.send_json({**message, "channel": "shell", "buffers": []})
            while True:
                got = json.loads((await asyncio.wait_for(ws.receive(), 60)).data)
                if got.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                    continue
                assert got["msg_type"] != "error", got["content"]
                if got["msg_type"] == "stream":
                    printed += got["content"]["text"]
                if got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                    return printed


@asynccontextmanager
async def person_at(lab: Lab) -> AsyncIterator[Person]:
    """Somebody who logged in with the token, and has been given a login cookie and one against forged requests."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Person(lab, session, await asyncio.to_thread(_cookies, lab))


def _cookies(lab: Lab) -> dict[str, str]:
    cookies: SimpleCookie = SimpleCookie()
    with urllib.request.urlopen(lab.page("lab")) as answer:
        for value in answer.headers.get_all("Set-Cookie") or []:
            cookies.load(value)
    found = {name: morsel.coded_value for name, morsel in cookies.items()}
    assert "_xsrf" in found, found
    assert any(name.startswith("username-") for name in found), found
    return found
