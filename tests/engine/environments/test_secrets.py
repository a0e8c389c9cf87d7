"""Secrets that programs in an environment need, and that the engine shows to nobody: canaries in all places at once."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from jupyter_mlenv.container_layout import LABEL
from jupyter_mlenv.environments import Environments
from tests.support.environments import BOX, Named, Settings, inside, inspected, opened, start
from tests.support.kernels import Home, kernel, said
from tests.support.leftovers import connect

PROXY = "http://ann:canary-proxy@127.0.0.1:9"
SAID = """
import json, os
names = ("TOKEN", "https_proxy", "HTTPS_PROXY", "http_proxy", "KEY")
print(json.dumps([os.environ.get(name) for name in names]))
"""
TELLS = """
import http.server, json, os, sys
class Tells(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([os.environ.get("TOKEN"), os.environ.get("KEY")]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Tells).serve_forever()
"""


async def test_the_engine_shows_no_secret_of_a_container(
    settings: Settings, named: Named, workspace: Path, owner: str
) -> None:
    """Of a preset's variables, an endpoint's and a proxy's password: none in variables, labels, events or the log."""
    tells = f"""
[env]
TOKEN = "canary-env"
[endpoints.tells]
command = ["{{python}}", "-c", '''{TELLS}''', "{{port}}"]
[endpoints.tells.env]
KEY = "canary-service at {{workspace}}"
"""
    began = int(time.time())
    site = settings(proxies={"https_proxy": PROXY, "http_proxy": "http://plain:1"})
    async with opened(site) as environments:
        preset = named("secret", BOX + tells)
        environment, _ = await start(environments, preset, workspace)
        # What the engine would not say is there for all that runs inside.
        assert await inside(environments, environment.id, SAID) == ["canary-env", PROXY, PROXY, "http://plain:1", None]
        await environments.service(environment.id, "tells", "/")
        agent = await environments.agent(environment.id)
        [service] = [one for one in await agent.services.list() if one.key.startswith("tells-")]
        ask = (
            "import urllib.request as u; opener = u.build_opener(u.ProxyHandler({}));"
            f"print(opener.open('http://127.0.0.1:{service.port}/').read().decode())"
        )
        assert await inside(environments, environment.id, ask) == ["canary-env", f"canary-service at {workspace}"]

        _, job = await environments.restart(environment.id)
        await job.wait()
        assert (await inside(environments, environment.id, SAID))[0] == "canary-env"

        shown = json.dumps(inspected(environment.id))
        log = [line async for line in environments.logs(environment.id)]
        with closing(connect()) as client:
            mine = {"label": f"{LABEL}.owner={owner}"}
            events = list(client.events(since=began, until=int(time.time()) + 1, filters=mine, decode=True))
            listed = client.containers(all=True, filters=mine)
        assert events
        assert listed
        public = " ".join([shown, json.dumps(events), json.dumps(listed), *log])
        assert "canary" not in public
        assert "http://plain:1" in shown  # it is no secret, so programs started by hand have it too


@pytest.mark.parametrize("fork", ["true", "false"])
async def test_kernels_have_the_variables_of_their_preset(
    fork: str, home: Home, named: Named, workspace: Path, environments: Environments
) -> None:
    text = f'extends = "host"\n[env]\nTOKEN = "canary-env"\n[kernel]\nfork = {fork}\n'
    name = home.add(named(f"secret-kernel-{fork}", text))
    async with kernel(name, workspace) as (_, client):
        assert await said(client, "import os; print(os.environ['TOKEN'])") == "canary-env"
        assert await said(client, "!echo $TOKEN") == "canary-env"
        [environment] = await environments.list()
        assert "canary" not in json.dumps(inspected(environment.id))
