"""The kernel menu is kept up whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlenv.server import kernel_menu
from jupyter_mlenv.server.kernel_menu import KernelMenu
from tests.support.waiting import eventually


class OddEnvironments:
    """Fails in a way that nobody expects where it is told to."""

    def __init__(self) -> None:
        self.fails: set[str] = set()
        self.synced = self.subscribed = 0
        self.changed = asyncio.Event()

    def on_images_changed(self, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        self.subscribed += 1
        yield {"type": "snapshot"}
        while True:
            await self.changed.wait()
            self.changed.clear()
            if "subscribe" in self.fails:
                raise ZeroDivisionError("a bug of the feed")
            yield {"type": "environment"}

    async def presets(self) -> tuple[list[Any], list[Any]]:
        self.synced += 1
        if "presets" in self.fails:
            raise ZeroDivisionError("a bug of presets")
        return [], []

    async def ready(self, presets: list[Any]) -> dict[str, bool]:
        return {}

    async def known(self) -> list[Any]:
        return []


@pytest.mark.parametrize("fails", ["subscribe", "presets"])
async def test_an_unexpected_failure_is_logged_and_the_menu_goes_on(
    fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernel_menu, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kernel_menu, "RETRY_SECONDS", 0.01)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    environments = OddEnvironments()
    menu = KernelMenu(environments, logging.getLogger("jupyter_mlenv"))  # type: ignore[arg-type]
    menu.start()
    await eventually(lambda: environments.synced and environments.subscribed, "it has begun")
    environments.fails.add(fails)
    environments.changed.set()
    await eventually(lambda: "tried again" in caplog.text, "the failure is logged")
    environments.fails.clear()
    await eventually(lambda: environments.subscribed > (fails == "subscribe"), "it listens")
    before = environments.synced

    async def heard() -> bool:
        environments.changed.set()
        await asyncio.sleep(0.02)
        return environments.synced > before

    await eventually(heard, "it hears of changes again")
    await menu.close()
