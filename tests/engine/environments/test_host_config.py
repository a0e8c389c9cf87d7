"""The preset `host` runs this machine's Jupyter without what its configuration below the prefix says."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest

from jupyter_mlenv.urls import endpoint_url
from tests.support.environments import Named, Settings, inside, opened, start

SEARCH = """
import json, os, sys
found = []
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(path, "rb") as file:
                    if b"kanarienvogel" in file.read():
                        found.append(path)
            except OSError:
                pass
print(json.dumps(found))
"""
ASK = """
import json, socket
def ask(path):
    s = socket.socket(socket.AF_UNIX); s.connect(SOCKET)
    s.sendall(f"GET {BASE}{path} HTTP/1.0\\r\\n\\r\\n".encode())
    answer = b"".join(iter(lambda: s.recv(65536), b"")).decode("utf-8", "replace")
    return answer
print(json.dumps([ask(path) for path in PATHS]))
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a venv with the packages of this one, and secrets wherever configuration may lie."""
    venv = tmp_path / "venv"
    packages = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (packages / "_below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    server = {
        "ServerApp": {
            "tornado_settings": {"headers": {"X-Applied": "kanarienvogel"}},
            "jpserver_extensions": {"notebook": True},
        },
        "IdentityProvider": {"token": "kanarienvogel"},
        "PasswordIdentityProvider": {"hashed_password": "argon2:kanarienvogel", "password_required": True},
    }
    texts = {
        "etc/jupyter/jupyter_server_config.json": json.dumps(server),
        "etc/jupyter/jupyter_server_config.py": "# kanarienvogel\nraise SystemExit('kanarienvogel')\n",
        "etc/jupyter/jupyter_server_config.d/lsp.json": '{"ServerApp": {"jpserver_extensions": {"jupyter_lsp": true}}}',
        "etc/jupyter/jupyter_server_config.d/secret.json": '{"GitHubConfig": {"access_token": "kanarienvogel"}}',
        "etc/jupyter/labconfig/page_config.json": '{"token": "kanarienvogel"}',
        "etc/ipython/ipython_config.py": "# kanarienvogel\n",
        "etc/conda/.condarc": "channels: [https://kanarienvogel@conda.test]\n",
        "etc/npmrc": "//registry.test/:_authToken=kanarienvogel\n",
        "share/jupyter/lab/settings/overrides.json": '{"x:y": {"token": "kanarienvogel"}}',
        "pip.conf": "[global]\nindex-url = https://ann:kanarienvogel@index.test\n",
        ".condarc": "channels: [https://kanarienvogel@conda.test]\n",
        ".env": "TOKEN=kanarienvogel\n",
        ".config/secret": "kanarienvogel\n",
    }
    for name, text in texts.items():
        (venv / name).parent.mkdir(parents=True, exist_ok=True)
        (venv / name).write_text(text)
    return venv / "bin/python"


async def test_configuration_below_the_prefix_is_neither_readable_nor_applied(
    settings: Settings, named: Named, workspace: Path, python: Path
) -> None:
    venv = python.parent.parent
    async with opened(settings(host_python=str(python))) as environments:
        environment, _ = await start(environments, named("box", 'extends = "host"'), workspace)
        places = [str(venv), "/usr/etc", "/usr/local/etc", "/etc"]
        found = await inside(environments, environment.id, f"import sys; sys.argv[1:] = {places!r}\n{SEARCH}")
        assert found == []

        await environments.service(environment.id, "notebook", "/")
        agent = await environments.agent(environment.id)
        [service] = await agent.services.list()
        base = endpoint_url("/", environment.id, "notebook")
        paths = ["api/status", "lsp/status", "lab", "tree"]
        code = f"SOCKET, BASE, PATHS = {service.socket!r}, {base!r}, {paths!r}\n{ASK}"
        status, lsp, lab, tree = await inside(environments, environment.id, code)
        assert all(answer.split("\r\n")[0].endswith("200 OK") for answer in (status, lab)), (status, lab)
        assert "kanarienvogel" not in status + lsp + lab + tree
        # Which extensions are on is no secret, and half of an extension would be worse than none.
        assert lsp.split("\r\n")[0].endswith("200 OK"), lsp
        assert tree.split("\r\n")[0].endswith("200 OK"), tree

        _, job = await environments.restart(environment.id)
        await job.wait()
        assert await inside(environments, environment.id, f"import sys; sys.argv[1:] = {places!r}\n{SEARCH}") == []
