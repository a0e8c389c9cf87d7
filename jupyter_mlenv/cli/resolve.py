"""The environment that a person means by what they typed."""

from __future__ import annotations

from collections.abc import Sequence

from ..environments.model import Environment
from ..errors import EnvironmentNotFound, RequestInvalid
from .arguments import nearest


def resolve(word: str, environments: Sequence[Environment], workspace: str = "") -> Environment:
    """The environment with this id, else of this preset, else whose id starts so.

    `PRESET` alone means the only environment of that preset, or the unnamed one of `workspace` if there are several.
    Raises EnvironmentNotFound, and RequestInvalid listing the candidates when several fit.
    """
    for environment in environments:
        if environment.id == word:
            return environment
    of_preset = [e for e in environments if e.preset == word]
    if len(of_preset) > 1:
        here = [e for e in of_preset if e.workspace == workspace]
        unnamed = [e for e in here if not e.name]
        of_preset = next((group for group in (unnamed, here) if len(group) == 1), of_preset)
    found = of_preset or ([e for e in environments if e.id.startswith(word)] if word else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestInvalid(
            f"{word!r} can mean {len(found)} environments:\n" + "\n".join(f"  {e.id}  {e.workspace}" for e in found),
            hint="Write the whole id, or as much of it as only one of them begins with.",
            details={"candidates": [e.id for e in found]},
        )
    guess = nearest(word, [name for e in environments for name in (e.id, e.preset)])
    raise EnvironmentNotFound(
        f"There is no environment {word!r}." + (f" Did you mean {guess!r}?" if guess else ""),
        hint="`jupyter mlenv list` shows the ones there are; `jupyter mlenv start PRESET` makes one.",
        details={"environment": word},
    )
