"""The project in an environment is what the person sees outside: history, and where it ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.environments import Settings, inside, lines_of, opened, start

COMMIT = """
import json, subprocess
def git(*words):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout
open("new.txt", "w").close()
git("add", "new.txt")
git("commit", "-q", "-m", "from inside")
print(json.dumps([git("log", "--format=%an <%ae> %s").splitlines(), git("status", "--porcelain")]))
"""


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@test", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


async def test_a_worktree_commits_to_its_repository(settings: Settings, tmp_path: Path) -> None:
    main, worktree = tmp_path / "main", tmp_path / "wt"
    main.mkdir()
    git(main, "init", "-q", "-b", "main")
    git(main, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", "-q", str(worktree))
    git(worktree, "config", "user.name", "Ann Lee")
    git(worktree, "config", "user.email", "ann@home.test")
    async with opened(settings()) as environments:
        environment, job = await start(environments, "host", worktree)
        assert not [line for line in lines_of(job) if line.startswith(("note:", "warning:"))]
        log, status = await inside(environments, environment.id, COMMIT)
        assert log == ["Ann Lee <ann@home.test> from inside", "x <x@test> first"]
        assert status == ""
    assert git(main, "log", "--format=%s", "wt").splitlines() == ["from inside", "first"]


async def test_links_that_lead_out_are_told_at_the_start(settings: Settings, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (workspace / "data").symlink_to(tmp_path / "big")
    async with opened(settings()) as environments:
        _, job = await start(environments, "host", workspace)
        [note] = [line for line in lines_of(job) if line.startswith("note:")]
        assert f"data leads to {tmp_path / 'big'}" in note
        assert "--mount" in note
