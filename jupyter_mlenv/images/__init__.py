"""Images: a plan's image is imported, pulled or built; a base image is made from Debian's packages."""

from .ensure import Images

__all__ = ["Images"]
