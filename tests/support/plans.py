"""Plans as a start makes them: the files are read, then the plan is made."""

from __future__ import annotations

from typing import Any

from jupyter_mlenv.engines.base import EngineFacts
from jupyter_mlenv.planning import inputs, plan
from jupyter_mlenv.planning.model import Plan, StartRequest
from jupyter_mlenv.presets.model import Preset
from jupyter_mlenv.settings import Settings


def planned(preset: Preset, request: StartRequest, facts: EngineFacts, settings: Settings, **reading: Any) -> Plan:
    """The plan of a start; `reading` as of `inputs.read`."""
    return plan.make(preset, request, facts, settings, inputs.read(preset, request, facts, settings, **reading))
