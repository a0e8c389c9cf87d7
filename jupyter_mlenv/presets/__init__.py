"""Presets: named recipes of environments, read from TOML files and checked."""

from .loader import DEFAULT_NAME, WORKSPACE_FILE, catalog, find, load, parse

__all__ = ["DEFAULT_NAME", "WORKSPACE_FILE", "catalog", "find", "load", "parse"]
