"""The Docker adapter: the only package that imports `docker`, and only on first use (it takes 0.1 to 0.3 s)."""

from __future__ import annotations

from .engine import DockerEngine

__all__ = ["DockerEngine"]
