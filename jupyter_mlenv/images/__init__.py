"""Images: a plan's image is imported, pulled or built; a base image is made from Debian's packages."""

from .ensure import Images, with_twin

__all__ = ["Images", "with_twin"]
