"""A container as the engine reports it -> the environment that a person sees. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from .. import plaintext
from ..container_layout import LABEL, TOKEN_PATH
from ..engines.base import ContainerInfo
from ..engines.model import Resources
from ..errors import EnvironmentFailed, EnvironmentNotRunning
from ..planning import label
from ..planning.model import Plan
from .model import Environment, State

_STATES = {
    "created": State.STARTING,
    "running": State.RUNNING,
    "restarting": State.STARTING,
    "paused": State.STOPPED,
    "exited": State.STOPPED,
    "removing": State.STOPPED,
    "dead": State.FAILED,
}


PAUSED = "Somebody paused it with the engine's own tools. A start lets it go on where it was."
"""The warning of an environment that is shown as stopped and still holds all that ran in it."""


ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

NO_PLAN = "Its container has no plan that can be read, so it cannot be used. Remove it, and start it anew."
"""The warning of a container that says it is an environment, and was not made by us."""


UNKNOWN_STATE = 'The engine says that its container is "{}", which is not known here; it is shown as stopped.'
"""The warning of a state that only another kind of engine has."""

ORDERLY_EXIT_CODES = {0, 143, 255}
"""Exit codes of an agent that was told to end, or was not there to end: 0 after SIGTERM, 143 before it could listen,
255 where the engine or the machine went down. All others are crashes."""


def crashed(info: ContainerInfo) -> bool:
    """Return whether a container ended by itself and not because somebody stopped it."""
    return info.status == "exited" and info.exit_code is not None and info.exit_code not in ORDERLY_EXIT_CODES


def environment(info: ContainerInfo) -> Environment:
    """The environment whose container this is; all of it comes from the labels and the engine's own report."""
    labels = info.labels
    text = labels.get(f"{LABEL}.plan", "{}")
    plan, sense = label.from_label(text), label.makes_sense(text)
    warnings = [*dropped(plan.container.resources, info.applied)]
    if info.status == "paused":
        warnings.append(PAUSED)
    if info.status not in _STATES:
        warnings.append(UNKNOWN_STATE.format(plaintext.one_line(info.status)[:40]))
    if not sense:
        warnings.append(NO_PLAN)
    return Environment(
        id=labels[f"{LABEL}.id"],
        preset=labels.get(f"{LABEL}.preset", ""),
        title=plan.title or labels.get(f"{LABEL}.preset", ""),
        name=labels.get(f"{LABEL}.name", ""),
        owner=labels.get(f"{LABEL}.owner", ""),
        workspace=labels.get(f"{LABEL}.workspace", ""),
        state=_STATES.get(info.status, State.STOPPED) if sense and not crashed(info) else State.FAILED,
        image=plan.image.reference or info.image,
        endpoints=plan.endpoints,
        gpu=plan.gpu,
        icon=plan.icon,
        container=info.id,
        run_dir=labels.get(f"{LABEL}.run", "") if guarded(plan) else "",
        python=plan.python,
        created=info.created,
        started=info.started,
        exit_code=info.exit_code,
        oom_killed=info.oom_killed and crashed(info),
        plan_hash=plan.hash,
        recipe=labels.get(f"{LABEL}.recipe", ""),
        warnings=tuple(warnings),
    )


def named(info: ContainerInfo) -> bool:
    """Return whether a container says which environment it is, by an id that can stand in an address."""
    return ID_PATTERN.fullmatch(info.labels.get(f"{LABEL}.id", "")) is not None


def require_running(environment: Environment) -> None:
    """Raise EnvironmentNotRunning for one that does not run."""
    if environment.state is State.RUNNING:
        return
    state = "paused" if PAUSED in environment.warnings else environment.state.value
    raise EnvironmentNotRunning(
        f"The environment {environment.id} is {state}.",
        hint=f"Start it in the panel, or with: jupyter mlenv restart {environment.id}"
        if state != "paused"
        else f"{PAUSED} jupyter mlenv start {environment.preset}",
        details={"environment": environment.id},
    )


def require_guarded(info: ContainerInfo) -> None:
    """Refuse a container whose token lies where code inside can put another file, or a link, in its place.

    Earlier versions made such ones. Raises EnvironmentFailed.
    """
    labels = info.labels
    if guarded(label.from_label(labels.get(f"{LABEL}.plan", "{}"))):
        return
    id, preset = labels.get(f"{LABEL}.id", info.name), labels.get(f"{LABEL}.preset", "")
    raise EnvironmentFailed(
        f"The environment {id} was made by an older version of jupyter_mlenv. What runs in it could read files of "
        "this machine, so it is not used any more.",
        hint=f"Make it anew: jupyter mlenv start {preset} --workspace '{labels.get(f'{LABEL}.workspace', '')}' "
        "--recreate. It is removed then: packages that were installed inside go with it; the project's files stay.",
        details={"environment": id},
    )


def guarded(plan: Plan) -> bool:
    """Return whether a container of this plan has its token in no directory that the host mounts, as older ones had."""
    return TOKEN_PATH in plan.container.command


def pending(plan: Plan, job: str = "") -> Environment:
    """The environment a plan will become, while a job works on it and no container is there."""
    return Environment(
        id=plan.id,
        preset=plan.preset,
        title=plan.title,
        name=plan.name,
        owner=plan.owner,
        workspace=plan.workspace,
        state=State.PENDING,
        image=plan.image.reference,
        endpoints=plan.endpoints,
        gpu=plan.gpu,
        icon=plan.icon,
        python=plan.python,
        job=job,
        plan_hash=plan.hash,
    )


LIMITS = {"memory": "memory limit", "cpus": "CPU limit", "pids": "process limit", "shm": "shared memory size"}
"""The fields of `Resources` that an engine may be unable to apply, in a person's words."""


def dropped(asked: Resources, applied: Resources | None) -> tuple[str, ...]:
    """A sentence for each limit that the engine did not apply; nothing if it did not report."""
    if applied is None:
        return ()
    sentences = [
        f"The engine did not apply the {text} ({getattr(asked, field)})."
        for field, text in LIMITS.items()
        if getattr(asked, field) is not None and getattr(applied, field) != getattr(asked, field)
    ]
    if asked.gpus and not applied.gpus:
        sentences.append(f"The engine did not apply the GPU request ({asked.gpus}).")
    return tuple(sentences)


def with_job(environment: Environment, job: str) -> Environment:
    """The environment with the job that works on it."""
    return replace(environment, job=job)
