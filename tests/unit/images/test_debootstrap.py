"""Which mirror a base image uses, and what is said where it cannot be made."""

from __future__ import annotations

import pytest

from jupyter_mlenv.errors import MlenvError
from jupyter_mlenv.images.debootstrap import MIRROR, apt_sources, check_host

HOST = """\
http://mirror.example.org/debian/ bookworm main
http://mirror.example.org/debian/ bookworm contrib
http://mirror.example.org/debian/ bookworm-updates main
http://security.example.org/debian-security/ bookworm-security main
https://packages.example.org/apt cloud main
"""


def test_the_mirrors_of_this_machine_are_used_in_builds_too() -> None:
    assert apt_sources("bookworm", "", HOST) == [
        "deb http://mirror.example.org/debian bookworm main",
        "deb http://mirror.example.org/debian bookworm-updates main",
        "deb http://security.example.org/debian-security bookworm-security main",
    ]


@pytest.mark.parametrize("targets", ["", "http://archive.ubuntu.com/ubuntu/ jammy main\n", "broken\n"])
def test_another_system_falls_back_to_debian_itself(targets: str) -> None:
    assert apt_sources("bookworm", "", targets)[0] == f"deb {MIRROR} bookworm main"


def test_a_named_mirror_stands_alone() -> None:
    assert apt_sources("trixie", "http://localhost:3142/debian/", HOST) == [
        "deb http://localhost:3142/debian trixie main"
    ]


@pytest.mark.parametrize(
    ("uid", "missing", "message", "hint"),
    [
        (0, ["debootstrap"], "debootstrap", "apt-get install debootstrap"),
        (0, ["debian-archive-keyring"], "debian-archive-keyring", "apt-get install"),
        (1000, [], "needs root", "sudo"),
    ],
)
def test_what_is_missing_comes_with_the_way_to_get_it(uid: int, missing: list[str], message: str, hint: str) -> None:
    with pytest.raises(MlenvError) as caught:
        check_host(uid, missing)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_root_with_everything_installed_is_fine() -> None:
    check_host(0, [])
