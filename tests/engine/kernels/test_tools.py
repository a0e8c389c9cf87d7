"""Kernels in what people run notebooks with: nbclient, nbconvert, papermill, and the kernel protocol's own suite."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupyter_kernel_test
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.environments.jobs import Jobs
from jupyter_mlenv.kernels import loop_thread
from tests.support.kernels import Home, remove_all
from tests.support.waiting import run_apart

CELLS = (
    "import os; print(os.environ['MLENV_PRESET'], os.getcwd())",
    "import pathlib; pathlib.Path('out.txt').write_text(pathlib.Path('in.txt').read_text().upper())",
    "%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
    "import ipywidgets; slider = ipywidgets.IntSlider(value=7); slider",
    "slider.value * 6",
)


@pytest.fixture
def notebook(workspace: Path, home: Home) -> Path:
    """A notebook that reads and writes files of the workspace, plots and has a widget; in a folder of its own."""
    folder = workspace / "my notebooks"
    folder.mkdir()
    (folder / "in.txt").write_text("words")
    metadata = {"kernelspec": {"name": home.add("host"), "display_name": "x", "language": "python"}}
    cells = [new_code_cell(source) for source in CELLS]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / "a.ipynb")
    return folder / "a.ipynb"


COMMANDS = {
    "nbconvert": ["-m", "nbconvert", "--execute", "--to", "notebook", "--output", "done.ipynb", "a.ipynb"],
    "nbclient": ["-c", "from nbclient.cli import main; main()", "--output", "done", "a.ipynb"],
    "papermill": ["-m", "papermill", "a.ipynb", "done.ipynb", "--no-progress-bar"],
}


@pytest.mark.parametrize("tool", COMMANDS)
async def test_a_notebook_runs_in_its_environment(
    tool: str, notebook: Path, home: Home, environments: Environments
) -> None:
    environment = os.environ | dict(home.environment) | {"HOME": str(home.folder), "MPLCONFIGDIR": str(home.folder)}
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, *COMMANDS[tool]],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = nbformat.read(notebook.parent / "done.ipynb", as_version=4).cells
    outputs = [cell.outputs for cell in cells if cell.source in CELLS]
    assert outputs[0][0].text.strip() == f"host {notebook.parent}"
    assert (notebook.parent / "out.txt").read_text() == "WORDS"
    assert "image/png" in outputs[2][-1].data
    assert "application/vnd.jupyter.widget-view+json" in outputs[3][0].data
    assert outputs[4][0].data["text/plain"] == "42"
    [one] = await environments.list()
    kernels = await (await environments.agent(one.id)).kernels.list()
    assert [kernel for kernel in kernels if kernel.state != "exited"] == []


@pytest.fixture(scope="module")
def protocol_home(owner: str, run_root: str, engine_ready: str) -> Iterator[None]:
    """A home and a workspace for a suite whose kernel starts before any test does."""
    before, folder = dict(os.environ), Path.cwd()
    with tempfile.TemporaryDirectory(prefix="mlenv-protocol-") as temporary:
        (Path(temporary) / "presets").mkdir()
        (Path(temporary) / "project").mkdir()
        home = Home(Path(temporary), owner, run_root, Path(temporary) / "presets")
        home.add("host")
        os.environ.update({name: value for name, value in home.environment.items() if name != "PYTHONPATH"})
        os.chdir(Path(temporary) / "project")
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
            loop_thread.close()

            async def sweep() -> None:
                await remove_all(Environments(home.config.engine(), home.config.settings(), Jobs()))

            run_apart(sweep)


@pytest.mark.usefixtures("protocol_home")
class TestProtocol(jupyter_kernel_test.KernelTests):
    """The suite that every kernel is held to; what is given here is what it cannot know about Python."""

    kernel_name = "mlenv-host"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [  # noqa: RUF012
        {"text": "zi", "matches": {"zip"}},
        {"text": "import nbform", "matches": {"nbformat"}},
    ]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]  # noqa: RUF012
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")  # what ipykernel itself is tested for
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    def test_it_is_in_an_environment(self) -> None:
        self.flush_channels()
        _, messages = self.execute_helper("import os; print(os.environ['MLENV_PRESET'])")
        assert messages[0]["content"]["text"] == "host\n"
