"""SIGTERM ends a server, whatever its kernels have done."""

from __future__ import annotations

import json
import signal
import urllib.error

import pytest

from tests.support.lab import owned_by_person, running_lab


def test_a_server_in_which_a_kernel_could_not_start_ends(owner: str) -> None:
    """Any kernel: Jupyter itself then looks for one that is not there, and goes on for ever."""
    with running_lab(owner, environment={"DOCKER_HOST": "unix:///nowhere.sock"}) as lab:
        folder = lab.root_dir / ".local/share/jupyter/kernels/broken"
        folder.mkdir(parents=True)
        spec = {"argv": ["/no/such/program", "{connection_file}"], "display_name": "Broken", "language": "none"}
        (folder / "kernel.json").write_text(json.dumps(spec))
        owned_by_person(lab, lab.root_dir / ".local")
        lab.request("POST", "api/kernels", {"name": "python3"})
        with pytest.raises(urllib.error.HTTPError, match="500"):
            lab.request("POST", "api/kernels", {"name": "broken"})
        lab.process.send_signal(signal.SIGTERM)
        assert lab.process.wait(60) == 0, lab.log.read_text(errors="replace")[-2000:]
