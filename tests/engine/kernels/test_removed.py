"""`jupyter mlenv rm` under the kernels of a Jupyter server: what is left of them can be shut down, or restarted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jupyter_mlenv.environments import Environments
from tests.support.environments import Left, Named, run_files
from tests.support.kernels import Home
from tests.support.servers import serving
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'


async def test_a_kernel_of_a_removed_environment(
    named: Named, home: Home, workspace: Path, environments: Environments, left: Left
) -> None:
    box = home.add(named("box", HOST))
    async with serving(home, workspace) as server:
        ids = [await server.start(box), await server.start(box)]
        [environment] = await environments.list()
        command = [sys.executable, "-m", "jupyter_mlenv.cli", "rm", "--yes", environment.id]
        subprocess.run(command, env=os.environ | dict(home.environment), check=True, timeout=60)  # noqa: ASYNC221

        for id in ids:

            async def dead(id: str = id) -> bool:
                model = await server.call("GET", f"api/kernels/{id}")
                return bool(model["execution_state"] == "dead")

            await eventually(dead, "the server knows that the kernel is dead")
            model = await server.call("GET", f"api/kernels/{id}")
            assert f"The environment {environment.id} was removed" in model["reason"]
        assert left() == []

        await server.call("DELETE", f"api/kernels/{ids[0]}", status=204)
        assert [kernel["id"] for kernel in await server.call("GET", "api/kernels")] == ids[1:]
        assert left() == [], "shutting down what is dead makes nothing anew"

        await server.call("POST", f"api/kernels/{ids[1]}/restart")
        async with server.channels(ids[1]) as channels:
            assert await channels.says("import os; print(os.environ['MLENV_ID'])") == environment.id
        await server.call("DELETE", f"api/kernels/{ids[1]}", status=204)
        assert "Task exception was never retrieved" not in server.log
        assert "was never awaited" not in server.log
    [again] = await environments.list()
    assert run_files(again.run_dir) == ["agent.sock", "token"]
