"""What a person may do outside they may do inside: an ordinary one, of this machine, by the command line."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import give
from tests.support.ordinary import Ordinary

LAB = 4242 if os.getuid() == 0 else max(os.getgroups())
"""The number of a group that the person is in."""

LOOK = """
import json, os, pwd, grp, time
open("written", "w").close()
print(json.dumps({
    "home": os.path.expanduser("~"), "cwd": os.getcwd(), "groups": sorted(os.getgroups()),
    "name": pwd.getpwuid(os.getuid()).pw_dir, "umask": oct(os.stat("written").st_mode & 0o777),
    "zone": time.tzname[0], "caller": {n: os.environ.get(n) for n in ("RUN_DATE", "KERNEL_A", "OTHER")},
    "cache": os.access(os.path.expanduser("~/.cache"), os.W_OK),
    "models": os.listdir(os.path.expanduser("~/.cache/models")),
}))
open(os.path.expanduser("~/.cache/models/new"), "w").close()
"""


@pytest.fixture
def person(owner: str, run_root: str) -> Iterator[Ordinary]:
    """Somebody in the group of a laboratory, whose home directory is in no usual place."""
    home = Path(tempfile.mkdtemp(prefix="mlenv-p-", dir="/tmp"))
    made = Ordinary(home, groups=(LAB,))
    give(home, made.uid)
    made.configure(
        owner=owner,
        run_root=f"{home}/run",
        preset_paths=[f"{home}/presets"],
        pass_env=["RUN_*"],
        shared_folders=[".cache/models"],
    )
    try:
        yield made
        for environment in json.loads(made.mlenv(home, "list", "--json")):
            made.mlenv(home, "rm", "--yes", environment["id"])
        assert list((home / "run").iterdir()) == []
    finally:
        shutil.rmtree(home)


def test_group_umask_home_zone_and_caches_are_the_persons(person: Ordinary, base_image: str) -> None:
    person.write("presets/small.toml", f'schema = 1\n[image]\nreference = "{base_image}"\n')
    person.write(".cache/models/weights", "1")
    person.write(".gitconfig", '[user]\n\tname = "Ann Lee"\n[alias]\n\tx = "!secret"\n')
    project = person.home / "projects" / "project"
    project.mkdir(parents=True)
    give(project.parent, person.uid)
    os.chown(project, 0 if os.getuid() == 0 else -1, LAB)
    project.chmod(0o2770)  # the person may write there as one of the group only

    person.mlenv(project, "start", "small", umask=0o007, TZ="Asia/Tokyo")
    [made] = json.loads(person.mlenv(project, "list", "--json"))
    command = ["shell", made["id"], "--", "python3", "-c", LOOK]
    seen = json.loads(person.mlenv(project, *command, RUN_DATE="2026-01-31", KERNEL_A="1", OTHER="2"))
    assert (seen["home"], seen["name"], seen["cwd"]) == (str(person.home), str(person.home), str(project))
    assert LAB in seen["groups"]
    assert seen["umask"] == "0o660"
    assert seen["zone"] == "JST"
    assert seen["caller"] == {"RUN_DATE": "2026-01-31", "KERNEL_A": "1", "OTHER": None}
    assert (seen["cache"], seen["models"]) == (True, ["weights"])
    assert (person.home / ".cache/models/new").stat().st_uid == person.uid
    assert ((project / "written").stat().st_gid, (project / "written").stat().st_mode & 0o777) == (LAB, 0o660)

    known = person.mlenv(project, "shell", made["id"], "--", "cat", f"{person.home}/.gitconfig")
    assert known == '[user]\n\tname = "Ann Lee"\n'
    # The folders on the way to a mount in the home directory are the person's, and nothing of ours is on this machine.
    person.mlenv(
        project, "shell", made["id"], "--", "touch", f"{person.home}/projects/beside", f"{person.home}/.cache/x"
    )
    own = {".cache", ".gitconfig", ".jupyter", ".local", "presets", "run", "projects"}
    assert {path.name for path in person.home.iterdir()} <= own
    assert os.listdir(project.parent) == ["project"]


DOCKERFILE = """
FROM {base}
RUN mkdir -p /opt/lib /opt/conda/envs/geo/bin /opt/conda/envs/geo/conda-meta /opt/conda/envs/geo/etc/conda/activate.d \\
    && ln -s "$(command -v python3)" /opt/conda/envs/geo/bin/python && cp /bin/true /opt/conda/envs/geo/bin/mytool \\
    && echo 'export GDAL_DATA=$CONDA_PREFIX/share/gdal' >/opt/conda/envs/geo/etc/conda/activate.d/gdal.sh \\
    && echo 'WHERE = "onlyhere"' >/opt/lib/onlyhere.py \\
    && printf '#!/bin/sh\\nexport PYTHONPATH=/opt/lib\\nexec "$@"\\n' >/entry.sh && chmod 755 /entry.sh \\
    && mkdir /root/env && ln -s "$(command -v python3)" /root/env/python && chmod 700 /root
ENTRYPOINT ["/entry.sh"]
"""

SHELL = "import json, os, shutil, onlyhere; print(json.dumps([os.environ['GDAL_DATA'], shutil.which('mytool')]))"


def test_entrypoint_and_conda_are_as_in_a_shell_of_the_image(
    person: Ordinary, base_image: str, preset_prefix: str
) -> None:
    project = person.write("project/Dockerfile", DOCKERFILE.format(base=base_image)).parent
    names = {"geo": "/opt/conda/envs/geo/bin/python", "hidden": "/root/env/python"}
    for name, python in names.items():
        text = f'schema = 1\n[image]\ndockerfile = "{project}/Dockerfile"\npython = "{python}"\n'
        person.write(f"presets/{preset_prefix}{name}.toml", text)
    person.mlenv(project, "start", f"{preset_prefix}geo")
    [made] = json.loads(person.mlenv(project, "list", "--json"))

    seen = json.loads(person.mlenv(project, "shell", made["id"], "--", "python", "-c", SHELL))
    assert seen == ["/opt/conda/envs/geo/share/gdal", "/opt/conda/envs/geo/bin/mytool"]
    # A terminal of JupyterLab is a login shell, for which /etc/profile sets PATH anew.
    login = person.mlenv(project, "shell", made["id"], "--", "sh", "-lc", "command -v mytool")
    assert login.strip() == "/opt/conda/envs/geo/bin/mytool"

    if person.uid != 0:
        failed = person.run(project, "-m", "jupyter_mlenv.cli", "start", f"{preset_prefix}hidden")
        assert failed.returncode != 0
        assert "you may not run /root/env/python" in failed.stderr
        assert "chmod a+rx /root" in failed.stderr
