"""Which use cases a kernel's loop calls, and where, in a process with a server and without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jupyter_mlenv.environments import Environments
from jupyter_mlenv.kernels import use_cases
from jupyter_mlenv.kernels.use_cases import Served, UseCases
from jupyter_mlenv.settings import Settings

SETTINGS = Settings(owner="ada", uid=1, gid=1, username="ada", run_root="/nowhere")


class Named:
    """Use cases that only have a name, and tell whether they were let go of."""

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def server_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own, as a server's does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def both(served: Served | None) -> tuple[UseCases, Named]:
    own = Named("own")
    return UseCases(lambda: cast(Environments, own), SETTINGS, served), own


async def where(environments: Environments) -> tuple[str, Any]:
    return cast(Named, environments).name, asyncio.get_running_loop()


def of_server(loop: Any) -> Served:
    return Served(cast(Environments, Named("server's")), loop)


async def test_a_servers_are_called_in_its_loop(server_loop: asyncio.AbstractEventLoop) -> None:
    found, own = both(of_server(server_loop))
    assert await found.call(where) == ("server's", server_loop)
    await found.close()
    assert not own.closed


async def test_without_a_server_they_are_the_loops_own() -> None:
    found, own = both(None)
    assert await found.call(where) == ("own", asyncio.get_running_loop())
    await found.close()
    assert own.closed


async def test_a_server_that_has_ended_is_not_waited_for() -> None:
    found, _ = both(of_server(SimpleNamespace(is_running=lambda: False)))
    assert (await found.call(where))[0] == "own"


async def test_a_loop_that_stands_still_is_not_waited_for(
    server_loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not do what was asked of it once it goes on: that has been done."""
    monkeypatch.setattr(use_cases, "BUSY_LOOP_SECONDS", 0.05)
    goes_on, done = threading.Event(), list[str]()

    async def work(environments: Environments) -> None:
        done.append(cast(Named, environments).name)

    server_loop.call_soon_threadsafe(goes_on.wait)
    found, _ = both(of_server(server_loop))
    await found.call(work)
    goes_on.set()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), server_loop))
    assert done == ["own"]


async def test_long_work_is_waited_for(server_loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_cases, "BUSY_LOOP_SECONDS", 0.05)

    async def work(environments: Environments) -> str:
        await asyncio.sleep(0.2)
        return cast(Named, environments).name

    assert await both(of_server(server_loop))[0].call(work) == "server's"


async def test_a_cancel_and_an_error_reach_the_other_side(server_loop: asyncio.AbstractEventLoop) -> None:
    began, ended = threading.Event(), threading.Event()

    async def work(environments: Environments) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def fail(environments: Environments) -> None:
        raise ValueError("no such environment")

    found, _ = both(of_server(server_loop))
    call = asyncio.ensure_future(found.call(work))
    assert await asyncio.to_thread(began.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(ended.wait, 10)
    with pytest.raises(ValueError, match="no such environment"):
        await found.call(fail)
