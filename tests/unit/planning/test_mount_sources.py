"""What lies at the sources of mounts: links that code in an environment could have made lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.errors import MountForbidden, MountMissing
from jupyter_mlenv.planning import mount_sources


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workspace beside a folder of secrets."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "work" / "data").mkdir(parents=True)
    return tmp_path / "work"


def test_links_outside_of_workspaces_are_followed(work: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("work/data")
    (made,) = mount_sources.resolved([Mount(str(tmp_path / "link"), "/data", True)], [str(work)])
    assert made == Mount(str(work / "data"), "/data", True)


@pytest.mark.parametrize("source", ["work/link", "work/link/deep", "away", "work/data/../link"])
def test_a_link_in_a_workspace_is_not_followed(work: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "secret" / "deep").mkdir()
    (work / "link").symlink_to("../secret")
    (tmp_path / "away").symlink_to("work/link")
    with pytest.raises(MountForbidden, match="is a link"):
        mount_sources.resolved([Mount(os.path.join(tmp_path, source), "/data")], [str(work)])


def test_what_has_become_a_link_is_refused_and_what_is_gone_is_not_made(work: Path, tmp_path: Path) -> None:
    mount = Mount(str(work / "data"), "/data")
    with mount_sources.held([mount]) as (source,):
        assert source.identity == mount_sources.now(source)
        assert source.directory
    (work / "data").rmdir()
    with pytest.raises(MountMissing, match="not there"), mount_sources.held([mount]):
        pass
    (work / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(MountForbidden, match=str(tmp_path / "secret")), mount_sources.held([mount]):
        pass
    assert not (tmp_path / "secret" / "data").exists()


def test_a_folder_above_that_has_become_a_link_is_refused(work: Path, tmp_path: Path) -> None:
    (work / "data" / "deep").mkdir()
    (tmp_path / "secret" / "deep").mkdir()
    mount = Mount(str(work / "data" / "deep"), "/data")
    os.rename(work / "data", work / "old")
    (work / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(MountForbidden), mount_sources.held([mount]):
        pass


def test_a_swap_while_it_is_held_is_noticed(work: Path, tmp_path: Path) -> None:
    mount = Mount(str(work / "data"), "/data")
    with mount_sources.held([mount]) as (source,):
        os.rename(work / "data", work / "old")
        (work / "data").symlink_to(tmp_path / "secret")
        assert mount_sources.now(source) is None
        (work / "data").unlink()
        (work / "data").mkdir()
        assert mount_sources.now(source) != source.identity


def test_descriptors_are_given_back(work: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MountMissing), mount_sources.held([Mount(str(work), "/a"), Mount("/nowhere/at/all", "/b")]):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
