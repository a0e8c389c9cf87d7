"""A fingerprint of what an environment is made from, by which one that a preset has left behind is known. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from ..presets.model import Preset
from ..serialization import to_plain
from .model import ImagePlan


def digest(preset: Preset, image: ImagePlan) -> str:
    """16 hex digits of what a preset says and of the image that it means now.

    Where the preset's file lies, how its tile looks and who agreed to it make no difference. The files that an image
    is built from are part of its name.
    """
    said = dataclasses.replace(
        preset, title="", description="", icon="", twin="", source="", directory="", project=None, consent=None
    )
    plain = to_plain(said)
    del plain["order"]  # where its tile stands
    text = json.dumps([plain, image.kind, image.reference], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
