"""A Jupyter that is itself a container of the engine tells it paths as the engine's host has them."""

from __future__ import annotations

import pytest

from jupyter_mlenv.engines.docker import own_container
from jupyter_mlenv.engines.docker.own_container import OwnContainer
from jupyter_mlenv.engines.model import ContainerSpec, Mount
from jupyter_mlenv.errors import EngineElsewhere

ID = "0123456789abcdef" * 4

DOCKER = f"""
1045 1038 0:21 / /sys rw - sysfs sysfs rw
1060 1040 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw
1061 1040 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw
"""
PODMAN = f"""
700 690 0:25 /containers/storage/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw
"""
COPYING = f"""
90 24 8:1 /var/lib/docker/containers/{ID}/hosts /var/lib/docker/overlay2/0a1b/merged/etc/hosts rw - ext4 /dev/sda1 rw
"""
"""What the engine's own host shows while the engine copies files into a container."""
MACHINE = "24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n25 24 8:1 /home/containers/x /srv rw - ext4 /dev/sda1 rw\n"

OWN = OwnContainer(
    ID,
    (
        Mount("/var/lib/docker/volumes/ann/_data", "/home/ann"),
        Mount("/srv/host-projects", "/home/ann/projects"),
        Mount("/etc/host-ssl", "/etc/ssl", read_only=True),
    ),
)


@pytest.mark.parametrize(("text", "id"), [(DOCKER, ID), (PODMAN, ID), (COPYING, ""), (MACHINE, ""), ("", "")])
def test_the_own_container_is_known_by_what_is_mounted_in_it(text: str, id: str) -> None:
    assert own_container.id_in(text) == id


def test_sources_are_told_as_the_host_has_them() -> None:
    mounts = (
        Mount("/home/ann/projects/p", "/home/ann/projects/p"),
        Mount("/home/ann/.local/share/jupyter/mlenv/run/x/in", "/run/mlenv"),
        Mount("/etc/ssl/certs", "/etc/ssl/certs", read_only=True),
    )
    made = OWN.translated(ContainerSpec("n", "i", ("c",), mounts=mounts))
    assert made.mounts == (
        Mount("/srv/host-projects/p", "/home/ann/projects/p"),
        Mount("/var/lib/docker/volumes/ann/_data/.local/share/jupyter/mlenv/run/x/in", "/run/mlenv"),
        Mount("/etc/host-ssl/certs", "/etc/ssl/certs", read_only=True),
    )


@pytest.mark.parametrize("path", ["/tmp/p", "/home/annabel", "/", "/etc"])
def test_what_no_other_container_can_have_is_said(path: str) -> None:
    with pytest.raises(EngineElsewhere, match="itself runs in") as caught:
        OWN.on_host(path)
    assert "/home/ann/projects" in caught.value.hint
    assert "run_root" in caught.value.hint


def test_mounts_are_read_from_the_engine() -> None:
    listed = [
        {"Type": "volume", "Name": "ann", "Source": "/v/_data", "Destination": "/home/ann", "RW": True},
        {"Type": "bind", "Source": "/srv", "Destination": "/srv", "RW": False},
        {"Type": "tmpfs", "Source": "", "Destination": "/tmp", "RW": True},
    ]
    assert own_container.from_inspect({"Id": ID, "Mounts": listed}).mounts == (
        Mount("/v/_data", "/home/ann"),
        Mount("/srv", "/srv", read_only=True),
    )
