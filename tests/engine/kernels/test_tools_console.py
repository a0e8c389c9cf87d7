"""What a person sees in a terminal: `jupyter console`, and the tools that run notebooks when a kernel dies on them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nbformat
import pexpect
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jupyter_mlenv.agent_client import AgentClient
from jupyter_mlenv.environments import Environments
from tests.support.environments import Named, run_files
from tests.support.kernels import Home
from tests.support.waiting import eventually

HOST = 'extends = "host"\ntitle = "Box"\n'

GREEDY = "x = [bytearray(1 << 24) for _ in range(64)]; [b.__setitem__(slice(None), b'1' * len(b)) for b in x]"

API = "import nbformat, nbclient; nbclient.NotebookClient(nbformat.read('a.ipynb', 4)).execute()"

COMMANDS = {
    "nbconvert": ["-m", "nbconvert", "--execute", "--to", "notebook", "--output", "done.ipynb", "a.ipynb"],
    "nbclient": ["-c", "from nbclient.cli import main; main()", "--output", "done", "a.ipynb"],
    "papermill": ["-m", "papermill", "a.ipynb", "done.ipynb", "--no-progress-bar"],
    "a program": ["-c", API],
}


@pytest.fixture(autouse=True)
async def nothing_left(home: Home, environments: Environments) -> AsyncIterator[None]:
    """No kernel, no socket, no connection file, whatever the tool was."""
    yield
    for environment in await environments.list():
        agent = await environments.agent(environment.id)

        async def ended(agent: AgentClient = agent, folder: str = environment.run_dir) -> bool:
            running = [kernel for kernel in await agent.kernels.list() if kernel.state != "exited"]
            return not running and run_files(folder) == ["agent.sock", "token"]

        # The console only asks its kernel to end. One that nobody holds ends in any case, after a grace of 60 s.
        await eventually(ended, "the kernels have ended", timeout=40)
    assert sorted(path.name for path in (home.folder / "runtime").iterdir()) == []


def variables(home: Home) -> dict[str, str]:
    """As in a person's shell, with warnings of what Python leaves unfinished at its end."""
    return os.environ | dict(home.environment) | {"HOME": str(home.folder), "PYTHONWARNINGS": "always::ResourceWarning"}


def run(tool: str, notebook: Path, home: Home) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *COMMANDS[tool]],
        cwd=notebook.parent,
        env=variables(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def notebook_of(workspace: Path, kernel_name: str, *sources: str) -> Path:
    metadata = {"kernelspec": {"name": kernel_name, "display_name": "x", "language": "python"}}
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), workspace / "a.ipynb")
    return workspace / "a.ipynb"


async def test_the_console(named: Named, home: Home, workspace: Path) -> None:
    """With no Jupyter server anywhere."""
    box = home.add(named("box", HOST))
    arguments = ["-m", "jupyter_console", "--kernel", box, "--simple-prompt", "--ZMQTerminalInteractiveShell.banner="]
    told = variables(home) | {"PYTHONFAULTHANDLER": "1"}
    child = pexpect.spawn(sys.executable, arguments, cwd=str(workspace), env=told, encoding="utf-8", timeout=180)
    try:
        child.expect(r"In \[1\]: ")
        child.sendline("import os; os.environ['MLENV_WORKSPACE'], 6 * 7")
        child.expect_exact(f"('{workspace}', 42)")
        child.expect(r"In \[2\]: ")
        child.sendline("import time; print('at', 'work', flush=True); time.sleep(600)")
        child.expect("at work")
        child.sendintr()
        child.expect("KeyboardInterrupt")
        child.expect(r"In \[3\]: ")
        child.sendline("1 + 1")
        child.expect(r"Out\[3\]: 2")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        assert child.wait() == 0
        assert "Traceback" not in child.before
    except pexpect.TIMEOUT:
        child.kill(signal.SIGABRT)  # says what each of its threads is doing
        pytest.fail(f"{child.before}\n{child.read()}")
    finally:
        child.close(force=True)


@pytest.mark.parametrize("tool", ["nbconvert", "papermill", "a program"])
async def test_out_of_memory_in_a_cell(tool: str, named: Named, home: Home, workspace: Path) -> None:
    preset = named("small", HOST + '[resources]\nmemory = "300m"\n')
    with run(tool, notebook_of(workspace, home.add(preset), GREEDY), home) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Kernel died" in told
    assert "The kernel ran out of memory" in told, told
    assert "300 MiB" in told
    assert f"jupyter mlenv start {preset} --memory" in told


@pytest.mark.parametrize("tool", ["nbclient"])
async def test_an_environment_removed_in_the_middle_of_a_cell(
    tool: str, named: Named, home: Home, workspace: Path, environments: Environments
) -> None:
    source = "open('at work', 'w').close(); import time; time.sleep(600)"
    with run(tool, notebook_of(workspace, home.add(named("box", HOST)), source), home) as process:
        try:
            await eventually((workspace / "at work").exists, "the cell runs")
            [environment] = await environments.list()
            await environments.remove(environment.id)
            _, told = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode != 0
    assert f"The environment {environment.id} was removed" in told, told


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
async def test_nothing_is_said_about_what_went_well(tool: str, named: Named, home: Home, workspace: Path) -> None:
    """No socket, task or process that Python has to complain about at its end."""
    with run(tool, notebook_of(workspace, home.add(named("box", HOST)), "6 * 7"), home) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    ours = [line for line in told.splitlines() if not re.match(r"(\[\w+\] |Executing|Input|Output|Ending)", line)]
    assert ours == []
