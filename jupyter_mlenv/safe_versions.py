"""Pure: the oldest Jupyter that is not known to give a person's login away, on this machine and in an image.

Pages of an environment are served under the address of the outer server, so a hole of the Jupyter inside is one of the
outer origin too. On this machine `pyproject.toml` demands the same versions; an image may bring what it likes, so there
a person is warned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from . import plaintext

FLOORS = {"jupyter_server": "2.21", "jupyterlab": "4.6.2"}
"""jupyter_server: CVE-2026-35397, -40110, -40934 (fixed in 2.18), -44727 (2.20), -86049 (2.21). jupyterlab:
CVE-2026-40171, -42266, -42557 (fixed in 4.5.7), -73415, -73417, -73627 (4.6.2)."""


def older(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the installed versions below the floor, by package; a version that cannot be read is not judged."""
    return {
        name: versions[name]
        for name, floor in FLOORS.items()
        if name in versions and (found := _numbers(versions[name])) and found < _numbers(floor)
    }


def sentence(versions: Mapping[str, str]) -> str:
    """Return the warning about the Jupyter of an environment; empty where it is new enough."""
    old = older(versions)
    if not old:
        return ""
    said = " and ".join(f"{name} {number[:40]}" for name, number in old.items())
    needed = " ".join(f"'{name}>={FLOORS[name]}'" for name in old)
    return plaintext.one_line(
        f"It runs {said}, which has known security holes: a notebook opened in there could act with your login. "
        f"Build its image anew, or in a terminal of it: python3 -m pip install --upgrade {needed}, and restart it."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The release part (`4.6.2` of `4.6.2rc1.post3`), which is enough: what comes before a release has its holes."""
    match = re.match(r"v?([0-9]{1,6}(?:\.[0-9]{1,6}){0,5})", version)
    return tuple(map(int, match[1].split("."))) if match else ()
