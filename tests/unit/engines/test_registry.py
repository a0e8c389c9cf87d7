"""Which adapters of engines there are, and how another package brings one."""

from __future__ import annotations

from pathlib import Path

import pytest
from traitlets import TraitError

from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.engines import registry
from jupyter_mlenv.engines.docker import DockerEngine

ADAPTER = """
class Adapter:
    def __init__(self, options):
        self.options = options
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an adapter, as pip would install it."""
    (tmp_path / "other_engine.py").write_text(ADAPTER)
    info = tmp_path / "other_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jupyter_mlenv.engines]\nother = other_engine:Adapter\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_docker_is_there_without_a_setting() -> None:
    assert isinstance(MlenvConfig().engine(), DockerEngine)


def test_another_package_brings_one(installed: None) -> None:
    assert registry.kinds() == ["docker", "other", "podman"]
    engine = MlenvConfig(engine_kind="other", engine_url="unix:///there", publish_host="10.0.0.5").engine()
    assert engine.options == registry.EngineOptions(url="unix:///there", publish_host="10.0.0.5")  # type: ignore[attr-defined]


def test_one_that_nobody_brings_is_refused_by_name() -> None:
    with pytest.raises(TraitError, match=r"engine_kind: there is no engine 'podmann' here, only docker, podman\."):
        MlenvConfig(engine_kind="podmann")
