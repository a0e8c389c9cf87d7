"""How the agent finds the kernelspecs that an image brings along."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.agent import kernelspecs
from tests.support.agents import interpreters


def install(kernels: Path, name: str, content: Any) -> None:
    (kernels / name).mkdir(parents=True)
    (kernels / name / "kernel.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_the_places_in_their_order() -> None:
    env = {"HOME": "/home/ann", "JUPYTER_PATH": "/own:/too"}
    assert kernelspecs.folders(env, ["/opt/conda", "/usr"]) == [
        f"{place}/kernels"
        for place in (
            "/own",
            "/too",
            "/home/ann/.local/share/jupyter",
            "/opt/conda/share/jupyter",
            "/usr/share/jupyter",
            "/usr/local/share/jupyter",
        )
    ]
    assert kernelspecs.folders({"JUPYTER_DATA_DIR": "/data", "HOME": "/root"}, [])[0] == "/data/kernels"


def test_the_first_place_counts(tmp_path: Path) -> None:
    install(tmp_path / "a", "ir", {"argv": ["R", "{connection_file}"], "interrupt_mode": "message"})
    install(tmp_path / "b", "ir", {"argv": ["old"]})
    spec = kernelspecs.find("ir", [str(tmp_path / name) for name in ("none", "a", "b")])
    assert (spec.command("/python"), spec.interrupt_mode) == (["R", "{connection_file}"], "message")


def test_what_a_command_says_is_filled_in(tmp_path: Path) -> None:
    content = {
        "argv": ["python3", "{resource_dir}/run.py", "-f", "{connection_file}"],
        "env": {"LIBRARY": "${HOME}/lib", "LEVEL": 3, "KEPT": "no"},
    }
    install(tmp_path, "mine", content)
    spec = kernelspecs.find("mine", [str(tmp_path)])
    assert spec.command("/opt/python") == ["/opt/python", f"{tmp_path}/mine/run.py", "-f", "{connection_file}"]
    assert spec.environ({"HOME": "/root", "KEPT": "yes"}) == {
        "LIBRARY": "/root/lib",
        "LEVEL": "3",
        "KEPT": "yes",
        "HOME": "/root",
    }


def test_one_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    for name in ("xpython", "bash"):
        install(tmp_path, name, {"argv": [name]})
    with pytest.raises(LookupError, match=r"^bash, xpython$"):
        kernelspecs.find("ir", [str(tmp_path)])
    with pytest.raises(LookupError, match=r"^none$"):
        kernelspecs.find("ir", [])


@pytest.mark.parametrize("content", ["{", "[]", {"argv": []}, {"argv": "R"}, {"argv": [1]}])
def test_a_broken_one_is_named(tmp_path: Path, content: Any) -> None:
    install(tmp_path, "ir", content)
    with pytest.raises(ValueError, match=r"ir/kernel\.json cannot be used"):
        kernelspecs.find("ir", [str(tmp_path)])


def test_the_oldest_interpreter_reads_it() -> None:
    subprocess.run([interpreters()[0], "-I", "-S", kernelspecs.__file__], check=True)
