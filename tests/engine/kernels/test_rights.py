"""Who may only look at environments runs no code in one, by a kernel either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jupyter_mlenv.environments import Environments
from tests.support.environments import Left, Named
from tests.support.kernels import Home
from tests.support.servers import Server, serving

HOST = 'extends = "host"\ntitle = "Box"\n'
LOOK = {"Look": "1"}


@pytest.fixture
async def server(home: Home, workspace: Path) -> AsyncIterator[Server]:
    async with serving(home, workspace, "--ServerApp.authorizer_class=tests.support.outerauth.Lookers") as running:
        yield running


async def refused(server: Server, verb: str, path: str, body: Any = None) -> str:
    async with server.session.request(verb, server.url + path, json=body, headers=LOOK) as answer:
        text = await answer.text()
        assert answer.status == 403, (path, answer.status, text)
        return text


async def test_nothing_is_made_for_somebody_who_may_only_look(
    named: Named, home: Home, server: Server, environments: Environments, left: Left
) -> None:
    box = home.add(named("box", HOST))
    sessions = {"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": box}}
    for path, body in (("api/kernels", {"name": box}), ("api/sessions", sessions)):
        assert "execute" in await refused(server, "POST", path, body)
        assert await server.call("GET", path) == []
    assert left() == []
    assert await environments.list() == []

    session = await server.call("POST", "api/sessions", {**sessions, "kernel": {"name": "python3"}}, 201)
    assert "execute" in await refused(server, "PATCH", f"api/sessions/{session['id']}", {"kernel": {"name": box}})
    assert left() == []
    await server.call("DELETE", f"api/sessions/{session['id']}", status=204)


async def test_a_kernel_that_runs_is_not_for_somebody_who_may_only_look(
    named: Named, home: Home, server: Server
) -> None:
    id = await server.start(home.add(named("box", HOST)))
    async with server.channels(id) as channels:
        assert await channels.says("x = 1; print(x)") == "1"
        for action in ("restart", "interrupt"):
            assert "execute" in await refused(server, "POST", f"api/kernels/{id}/{action}")
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await server.session.ws_connect(f"{server.url}api/kernels/{id}/channels?session_id=a", headers=LOOK)
        assert await channels.says("print(x)") == "1"
    await server.call("POST", f"api/kernels/{id}/restart")
    async with server.channels(id) as channels:
        assert await channels.says("print(1)") == "1"
        # The server starts it again by itself, on nobody's request.
        await channels.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        await channels.until(lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "restarting")
    async with server.channels(id) as channels:
        assert await channels.says("print('back')") == "back"
    await server.call("DELETE", f"api/kernels/{id}", status=204)
