"""ML environments in containers, one click away from JupyterLab."""

__version__ = "0.1.0"
