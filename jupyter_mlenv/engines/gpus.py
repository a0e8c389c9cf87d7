"""A request for GPUs, in the one form that presets, the command line, the REST API and labels share. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import RequestInvalid

ALL = -1
"""The count of every GPU there is, as in Docker's `DeviceRequest`."""

PATTERN = r"(all|none|[0-9]{1,4}|device=[A-Za-z0-9_.:-]+(,[A-Za-z0-9_.:-]+)*)?"
"""The grammar, as `docker run --gpus` has it, and `none`. Device ids are numbers, UUIDs or CDI names."""

_GRAMMAR = re.compile(PATTERN)


@dataclass(frozen=True)
class GpuRequest:
    """GPUs by their number, or by their ids; false if it asks for none.

    Parameters
    ----------
    count
        How many, or `ALL`.
    devices
        Ids of devices; `count` is 0 then.
    """

    count: int = 0
    devices: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.count or self.devices)

    def to_text(self) -> str:
        """`all`, a count, `device=0,1`, or nothing: `parse` reads it back."""
        if self.devices:
            return f"device={','.join(self.devices)}"
        return "all" if self.count == ALL else str(self.count or "")

    def exceeds(self, most: int) -> bool:
        """Return whether the request may be for more GPUs. A word as a device's id, such as `all`, is any number."""
        words = {"all", "none", "void"} & {id.lower() for id in self.devices}
        return self.count == ALL or bool(words) or max(self.count, len(self.devices)) > most

    def __str__(self) -> str:
        return self.to_text()


NONE = GpuRequest()
EVERY = GpuRequest(ALL)


def parse(value: object) -> GpuRequest:
    """The request that a text or a number stands for. Raises RequestInvalid."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _GRAMMAR.fullmatch(text):
        raise RequestInvalid(
            f"{value!r} is no GPU request.",
            hint="Write all, none, a number such as 2, or device=0,1 with ids of devices.",
        )
    if text.startswith("device="):
        return GpuRequest(devices=tuple(text.removeprefix("device=").split(",")))
    return EVERY if text == "all" else GpuRequest(int(text) if text.isdecimal() else 0)
