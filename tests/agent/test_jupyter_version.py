"""An environment whose image brings an old Jupyter says so, once its JupyterLab has been opened."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from jupyter_mlenv.cli.doctor import engine_checks
from jupyter_mlenv.environments import Environments, jupyter_version
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.planning.model import StartRequest
from jupyter_mlenv.settings import Settings
from tests.support.fakes import FakeEngine
from tests.support.waiting import eventually

PRESET = """
name = "old"
[image]
reference = "registry.test/old:1"
[env]
PYTHONPATH = "{packages}"
[endpoints.notebook]
ready = ""
command = ["{{python}}", "-c", '''
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def address_string(self): return "-"
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
''', "{{socket}}"]
"""


async def test_an_old_jupyter_inside_is_a_warning(tmp_path: Path, run_root: str, owner: str) -> None:
    packages = tmp_path / "packages"
    (packages / "jupyter_server-2.14.2.dist-info").mkdir(parents=True)
    metadata = packages / "jupyter_server-2.14.2.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: jupyter_server\nVersion: 2.14.2\n")
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "old.toml").write_text(PRESET.format(packages=packages))
    workspace = tmp_path / "project"
    workspace.mkdir()
    engine = FakeEngine(images=["registry.test/old:1"])
    settings = Settings(
        owner=owner,
        uid=os.getuid(),
        gid=os.getgid(),
        username=getpass.getuser(),
        run_root=run_root,
        preset_paths=(str(tmp_path / "presets"),),
        allowed_workspaces=(str(tmp_path),),
    )
    environments = Environments(engine, settings, Jobs())
    try:
        _, job = await environments.start(StartRequest("old", str(workspace)))
        environment = await job.wait()
        assert environment.warnings == ()
        assert [check.status for check in await engine_checks.old_jupyters(environments)] == ["warning"]
        await environments.service(environment.id, jupyter_version.ENDPOINT, "/")

        async def warned() -> tuple[str, ...]:
            return (await environments.get(environment.id)).warnings

        [warning] = await eventually(warned, "the environment has a warning")
        assert "jupyter_server 2.14.2" in warning
        assert [one.warnings for one in await environments.list()] == [(warning,)]

        metadata.write_text("Metadata-Version: 2.1\nName: jupyter_server\nVersion: 2.21.0\n")
        _, job = await environments.restart(environment.id)
        await job.wait()
        await environments.service(environment.id, jupyter_version.ENDPOINT, "/")
        assert await engine_checks.old_jupyters(environments) == []
        assert (await environments.get(environment.id)).warnings == ()
        await environments.remove(environment.id)
    finally:
        await environments.close()
        await engine.close()
