"""Where a shell begins."""

from __future__ import annotations

import pytest

from jupyter_mlenv.cli.shell import folder_in


@pytest.mark.parametrize(
    ("here", "folder"),
    [("/p/sub/deep", "/p/sub/deep"), ("/p", "/p"), ("/pp", "/p"), ("/elsewhere", "/p")],
)
def test_a_shell_begins_where_the_person_is_if_that_is_in_the_project(here: str, folder: str) -> None:
    assert folder_in("/p", here) == folder
