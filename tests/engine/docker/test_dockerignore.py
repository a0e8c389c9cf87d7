"""Which files of a context are left out, beside what docker's own command line leaves out."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from jupyter_mlenv.engines.docker.context import write_context
from jupyter_mlenv.errors import EngineError
from jupyter_mlenv.planning import user_dockerfile
from tests.support.repository import ROOT

TEXT = "FROM scratch\nCOPY . /\n"

FILES = """
a.pyc .pyc a/x.pyc a/.pyc foo foobar ab a/b/c axb ax axx/b foo1 foo2/z d/e/keep d/keep d/other src/main.py src/main.log
src/deep/er/main.log README.md docs/README.md docs/more.md node_modules/x/index.js node_modules/keep/y [x]/z *s !bang
.git/config data/.keep data/1/2/3.bin caf\u00e9/\u00e9 Dockerfile docker/Train.Dockerfile b/Dockerfile
"""

IGNORED = [
    ["**.pyc"],
    ["a**b"],
    ["**", "!**/keep"],
    ["*", "!src", "src/**/*.log"],
    ["d", "!d/e", "d"],
    ["**/*.md", "!README.md", "node_modules", "!node_modules/keep"],
    ["foo**", "data/**", "!data/.keep", "/docs/"],
    ["\\*s", "[[]x]", "!bang", "\\!bang", "caf?/*", "./src/../ab", "# no comment", " #neither"],
    ["*", "!*/", "!**/*.py", "src/main*"],
    ["**/e", "a[^q]b", "[a-d]", "?oo", "**/.git", "Dockerfile", ".dockerignore"],
    ["***", "!a*", "!**b", "**/**/c"],
]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    for name in FILES.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TEXT if "Dockerfile" in name else name)
    return folder


def by_docker(context: Path, out: Path, dockerfile: str = "Dockerfile") -> list[str]:
    """The files that `COPY .` copies, as the command line builds it. Raises CalledProcessError."""
    command = ["docker", "buildx", "build", "--no-cache", "--output", f"type=local,dest={out}"]
    own = ROOT / ".cache" / "buildx"
    config = {"DOCKER_CONFIG": str(own)} if (own / "cli-plugins").is_dir() else {}
    subprocess.run(
        [*command, "--file", str(context / dockerfile), str(context)],
        env={**os.environ, **config},
        check=True,
        capture_output=True,
        timeout=300,
    )
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir())
    return [name for name in found if name != dockerfile]  # ours is always sent


def by_us(context: Path, dockerfile: str = "Dockerfile") -> list[str]:
    recipe = user_dockerfile.recipe("t", TEXT, str(context), path=str(context / dockerfile))
    content, place = write_context(recipe)
    with content, tarfile.open(fileobj=content) as tar:
        return sorted(member.name for member in tar if not member.isdir() and member.name != place)


@pytest.mark.parametrize("lines", IGNORED, ids=" ".join)
def test_the_same_files_as_the_command_line(context: Path, tmp_path: Path, lines: list[str]) -> None:
    (context / ".dockerignore").write_text("\n".join(lines) + "\n")
    assert by_us(context) == by_docker(context, tmp_path / "out")


def test_a_dockerfiles_own_ignore_file_wins(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("src\n")
    own = context / "docker" / "Train.Dockerfile.dockerignore"
    own.write_text("**\n!a\n")
    try:
        found = by_us(context, "docker/Train.Dockerfile")
        assert found == by_docker(context, tmp_path / "out", "docker/Train.Dockerfile")
        assert found == ["a/.pyc", "a/b/c", "a/x.pyc"]
        assert "src/main.py" not in by_us(context)
    finally:
        own.unlink()


@pytest.mark.parametrize("line", ["!", "[z-a]", "a["])
def test_what_the_command_line_refuses_is_refused(context: Path, tmp_path: Path, line: str) -> None:
    (context / ".dockerignore").write_text(f"{line}\n")
    with pytest.raises(subprocess.CalledProcessError):
        by_docker(context, tmp_path / "out")
    with pytest.raises(EngineError, match="line 1"):
        by_us(context)
