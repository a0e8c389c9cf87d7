"""A service that runs into a limit of its environment says which, and how to have more."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_mlenv.errors import RequestInvalid, ServiceExited
from tests.support.environments import Named, Settings, opened, start

HUNGRY = """
extends = "host"
title = "Hungry"
[resources]
memory = "{memory}"
pids = {pids}
[endpoints.eats]
title = "Eats"
hint = "Install it."
command = ["{{python}}", "-c", "data = []\\nwhile True: data.append(bytearray(1 << 24))", "{{port}}"]
[endpoints.forks]
title = "Forks"
command = ["{{python}}", "-c", '''
import threading
for _ in range(4096):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
''', "{{port}}"]
"""


async def test_out_of_memory_is_no_missing_package(settings: Settings, named: Named, workspace: Path) -> None:
    async with opened(settings()) as environments:
        environment, _ = await start(environments, named("hungry", HUNGRY.format(memory="150m", pids=300)), workspace)
        with pytest.raises(
            ServiceExited, match="ran out of memory, of which the environment may use 150 MiB"
        ) as caught:
            await environments.service(environment.id, "eats", "/")
        assert "--memory" in caught.value.hint
        assert "Install" not in caught.value.hint


async def test_the_process_limit_is_named(settings: Settings, named: Named, workspace: Path) -> None:
    async with opened(settings()) as environments:
        environment, _ = await start(environments, named("hungry", HUNGRY.format(memory="600m", pids=20)), workspace)
        with pytest.raises(ServiceExited, match="could start no more processes or threads") as caught:
            await environments.service(environment.id, "forks", "/")
        assert "resources.pids" in caught.value.hint


async def test_a_shell_beyond_the_process_limit_is_told_the_limit(
    settings: Settings, named: Named, workspace: Path
) -> None:
    async with opened(settings()) as environments:
        environment, _ = await start(environments, named("hungry", HUNGRY.format(memory="600m", pids=20)), workspace)
        agent = await environments.agent(environment.id)
        sessions = [await agent.exec(["sleep", "600"])]

        async def more() -> None:
            for _ in range(30):
                sessions.append(await agent.exec(["sleep", "600"]))

        with pytest.raises(RequestInvalid, match="no more processes and threads: its limit is 20"):
            await more()
        for session in sessions:
            await session.close()
