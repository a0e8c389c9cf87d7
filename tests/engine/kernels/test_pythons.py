"""Kernels where the image's Python is not what it should be: too old, without ipykernel, with an old one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from jupyter_mlenv.kernels.kernel_error import KernelError
from tests.engine.kernels.test_bursts import OUTPUTS, burst
from tests.support.environments import Left, Named
from tests.support.kernels import Home, kernel, said

HOST = 'extends = "host"\ntitle = "Box"\n'

STAND_IN = """#!/bin/sh
exec $(command -v PYTHON || echo python3) -c '
import runpy, sys
while sys.argv[1:] and sys.argv[1] in ("-E", "-I", "-S", "-s", "-u"):
    del sys.argv[1]
if sys.argv[1] == "-c":
    exec(sys.argv[2])
else:
    sys.version_info, sys.version = (3, 6, 15, "final", 0), "3.6.15 (a stand-in)"
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""
"""A Python that says that it is 3.6, for machines that have none: this one, or where it is not seen another."""


def version_of(python: str) -> str:
    """Empty if it does not run, as a pyenv's shim for a version that is not chosen."""
    command = [python, "-c", "print(__import__('sys').version.split()[0])"]
    if which(python) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def old_pythons() -> list[str]:
    """Real ones of this machine, where it has some."""
    versions = ("2.7", "3.5", "3.6", "3.7")
    kept = [path for version in versions for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    named = [which(f"python{version}") for version in versions]
    return [str(path) for path in (*kept, *named) if path and version_of(str(path))]


@pytest.fixture
def stand_in(workspace: Path) -> str:
    path = workspace / "python3.6"
    path.write_text(STAND_IN.replace("PYTHON", sys.executable))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("python", ["stand-in", *old_pythons()], ids=lambda python: version_of(python) or "stand-in")
async def test_a_python_too_old_for_the_agent(
    python: str, stand_in: str, make_home: Callable[..., Home], named: Named, workspace: Path
) -> None:
    python, version = (stand_in, "3.6.15") if python == "stand-in" else (python, version_of(python))
    home = make_home(host_python=python)
    with pytest.raises(KernelError) as caught:
        async with kernel(home.add(named("old", HOST)), workspace):
            pass
    text = str(caught.value)
    assert f"because {python} in its image" in text
    assert f"is Python {version}, and 3.8 or newer is needed" in text
    assert "Choose another interpreter of this machine with --MlenvConfig.host_python" in text
    assert "SyntaxError" not in text


async def test_a_python_too_old_in_an_image(
    stand_in: str, named: Named, home: Home, base_image: str, left: Left
) -> None:
    preset = named("old", f'[image]\nreference = "{base_image}"\npython = "{stand_in}"\n')
    with pytest.raises(KernelError, match=r"Python 3\.6\.15, and 3\.8 or newer") as caught:
        async with kernel(home.add(preset), Path(stand_in).parent):
            pass
    assert "image.python" in str(caught.value)
    assert left() == []


async def test_a_python_without_ipykernel(
    make_home: Callable[..., Home], named: Named, workspace: Path, tmp_path: Path
) -> None:
    python = bare(tmp_path / "bare")
    home = make_home(host_python=python)
    for fork in ("true", "false"):
        box = home.add(named(f"bare-{fork}", f"{HOST}[kernel]\nfork = {fork}\n"))
        with pytest.raises(KernelError) as caught:
            async with kernel(box, workspace):
                pass
        first = str(caught.value).splitlines()[0]
        assert "has no ipykernel" in first
        assert f"{python} -m pip install ipykernel" in first
        assert caught.value.error.details["environment"] in first


async def test_an_image_without_ipykernel(named: Named, home: Home, base_image: str, workspace: Path) -> None:
    """What to do about it depends on where the image comes from."""
    preset = named("bare", f'[image]\nreference = "{base_image}"\n')
    with pytest.raises(KernelError, match="has no ipykernel") as caught:
        async with kernel(home.add(preset), workspace):
            pass
    assert "`add_jupyter = true` below [image]" in str(caught.value)
    assert f"jupyter mlenv start {preset} --workspace '{workspace}' --recreate" in str(caught.value)


@pytest.mark.parametrize("fork", ["true", "false"])
async def test_an_ipykernel_of_the_last_generation(
    fork: str, make_home: Callable[..., Home], named: Named, workspace: Path, tmp_path: Path
) -> None:
    """Version 6, beside all else that this Python has."""
    python = bare(tmp_path / "six")
    packages = next((tmp_path / "six").glob("lib/python3.*/site-packages"))
    ours = sysconfig.get_path("purelib")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, "ipykernel==6.29.5"]
    subprocess.run(pip, check=True)  # noqa: ASYNC221
    (packages / "ours.pth").write_text(ours)
    home = make_home(host_python=python)
    text = f'{HOST}[kernel]\nfork = {fork}\n[[mounts]]\nsource = "{ours}"\nread_only = true\n'
    async with kernel(home.add(named("six", text)), workspace) as (manager, client):
        assert await said(client, "import ipykernel; print(ipykernel.__version__)") == "6.29.5"
        assert await burst(client, 0.0003) == OUTPUTS
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await said(client, "1 + 1") == "2"


def bare(folder: Path) -> str:
    """The interpreter of an environment with no packages, pip included."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return str(folder / "bin" / "python")


async def test_commands_of_a_cell_find_the_kernels_own_python(
    make_home: Callable[..., Home], named: Named, workspace: Path, tmp_path: Path
) -> None:
    """A venv that is not on the path and has no pip, beside a system that has one."""
    python = bare(tmp_path / "apart")
    packages = next((tmp_path / "apart").glob("lib/python3.*/site-packages"))
    ours = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(ours)
    home = make_home(host_python=python)
    text = f'{HOST}[kernel]\nfork = false\n[[mounts]]\nsource = "{ours}"\nread_only = true\n'
    async with kernel(home.add(named("apart", text)), workspace) as (_, client):
        prefix = await said(client, "import sys; print(sys.prefix)")
        for name in ("python", "python3"):
            assert await said(client, f"!{name} -c 'import sys; print(sys.prefix)'") == prefix
        for name in ("pip", "pip3"):
            assert f"{ours}/pip" in await said(client, f"!{name} --version")
        for name in ("pip", "python"):
            assert prefix.rpartition("/")[0] in await said(client, f"!command -v {name}")
        assert await said(client, "import os; print(os.environ['VIRTUAL_ENV'])") == prefix
        await said(client, "!pip install --quiet cowsay")
        assert (await said(client, "import cowsay; print(cowsay.__file__)")).startswith(prefix)
