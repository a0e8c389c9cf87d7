"""How an environment is, by what its engine says of its container."""

from __future__ import annotations

import pytest

from jupyter_mlenv.engines.base import ContainerInfo
from jupyter_mlenv.environments import from_container
from jupyter_mlenv.environments.model import State

LABELS = {"jupyter-mlenv.id": "python-1111111111", "jupyter-mlenv.plan": '{"id": "python-1111111111", "container": {}}'}


def container(status: str, exit_code: int | None = None, **more: bool) -> ContainerInfo:
    return ContainerInfo("c", "n", status, LABELS, exit_code=exit_code, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, State.STOPPED),  # the agent was told to end
        (143, State.STOPPED),  # before it could listen
        (255, State.STOPPED),  # the engine or the machine went down
        (137, State.FAILED),  # killed
        (139, State.FAILED),  # a crash
        (1, State.FAILED),  # no Python that runs
    ],
)
def test_a_crash_is_no_stop(code: int, state: State) -> None:
    assert from_container.environment(container("exited", code)).state is state


def test_a_lack_of_memory_that_did_not_end_it_is_no_crash() -> None:
    """A kernel that was killed for it leaves its mark on the container, too."""
    stopped = from_container.environment(container("exited", 0, oom_killed=True))
    assert (stopped.state, stopped.oom_killed) == (State.STOPPED, False)
    crashed = from_container.environment(container("exited", 137, oom_killed=True))
    assert (crashed.state, crashed.oom_killed) == (State.FAILED, True)


@pytest.mark.parametrize("status", ["configured", "stopping", ""])
def test_a_state_that_nobody_knows_hides_nothing(status: str) -> None:
    environment = from_container.environment(container(status))
    assert environment.state is State.STOPPED
    assert any(f'"{status}"' in warning for warning in environment.warnings)
