"""Files that are read below a folder: what a link, a pipe or a swap does."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mlenv import treewalk
from jupyter_mlenv.treewalk import Budget, OutOfTime, read_text, walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace beside a folder with a secret."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("KEY")
    workspace = tmp_path / "work"
    (workspace / "sub").mkdir(parents=True)
    (workspace / "sub" / "file").write_text("mine")
    return workspace


def everything(root: Path, **options: bool) -> list[str]:
    with treewalk.opened(str(root), ".") as top:
        return [e.path for e in walk(top, lambda *_: (True, 0), 0, pause=lambda: None, **options)]


def test_links_inside_of_the_root_are_resolved(root: Path) -> None:
    (root / "up").symlink_to("sub/../sub")
    (root / "absolute").symlink_to(root / "up" / "file")
    for path in ("sub/file", "up/file", "absolute", str(root / "absolute"), "./sub//file"):
        assert read_text(str(root), path) == "mine"


@pytest.mark.parametrize(
    "target", ["../secret/key", "{out}/secret/key", "sub/../../secret/key", "/proc/self/root{out}/secret/key", "loop"]
)
def test_a_link_that_leads_out_is_refused(root: Path, target: str) -> None:
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to(target.format(out=root.parent))
    with pytest.raises(OSError, match=r"leads out|symbolic links"):
        read_text(str(root), "link")
    (root / "folder").symlink_to(os.path.dirname(target.format(out=root.parent)) or "loop")
    with pytest.raises(OSError, match=r"leads out|symbolic links"):
        read_text(str(root), "folder/key")


def test_a_path_that_leads_out_is_refused(root: Path) -> None:
    for path in ("../secret/key", "sub/../../secret/key", str(root.parent / "secret" / "key")):
        with pytest.raises(OSError, match="out"):
            read_text(str(root), path)


def test_a_root_that_has_become_a_link_is_refused(root: Path) -> None:
    root.rename(root.with_name("moved"))
    root.symlink_to(root.with_name("secret"))
    with pytest.raises(OSError, match="has become a link"):
        read_text(str(root), "key")


def test_only_regular_files_are_read_and_nothing_waits_for_a_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.closing(listener), _inside(root):
        listener.bind("socket")
    for path in ("pipe", "socket", "sub"):
        with pytest.raises(OSError, match=r"no regular file|No such device|directory"):
            read_text(str(root), path)
    with treewalk.opened(str(root), ".") as top, pytest.raises(OSError, match="no regular file"):
        treewalk.open_file(top, "pipe")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_file_of_any_size_costs_the_limit_at_most(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(400 << 30)
    with pytest.raises(OSError, match="more than 1048576 bytes"):
        read_text(str(root), "sparse")
    (root / "sub" / "file").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_text(str(root), "sub/file", 10)


def test_a_walk_lists_links_and_follows_none(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "secret")
    assert everything(root) == ["out", "sub", "sub/file"]


def test_a_walk_is_bounded_in_depth_and_time(root: Path) -> None:
    deep = root
    for _ in range(treewalk.MAX_DEPTH + 10):
        deep = deep / "d"
        os.mkdir(deep)
    with pytest.raises(OSError, match="folders lie in one another"):
        everything(root)
    for number in range(2 * treewalk.ENTRIES_PER_LOOK):
        (root / "sub" / str(number)).touch()
    spent, stopped = Budget(0), Budget()
    stopped.stop()
    for budget in (spent, stopped):
        with treewalk.opened(str(root), "sub") as top, pytest.raises(OutOfTime):
            list(walk(top, lambda *_: (True, 0), 0, pause=budget))
    Budget()()


def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_shows_what_is_behind(root: Path) -> None:
    """What code in an environment can do while a build context is read."""
    (root / "real").mkdir()
    (root / "real" / "key").write_text("mine")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(root / "real", root / "away")
                os.symlink(root.parent / "secret", root / "real")
                os.unlink(root / "real")
                os.rename(root / "away", root / "real")

    attacker = threading.Thread(target=swap)
    attacker.start()
    seen = set()
    try:
        for _ in itertools.repeat(None, 100):
            with contextlib.suppress(OSError):
                seen.add(read_text(str(root), "real/key"))
            with contextlib.suppress(OSError), treewalk.opened(str(root), ".") as top:
                for entry in walk(top, lambda *_: (True, 0), 0, pause=lambda: None, strict=False):
                    if entry.name == "key":
                        with open(treewalk.open_file(entry.folder, "key")) as file:
                            seen.add(file.read())
    finally:
        stop.set()
        attacker.join()
    assert seen == {"mine"}
