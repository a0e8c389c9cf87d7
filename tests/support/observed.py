"""What a page showed and said while a test was looking elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import ConsoleMessage, Error, Page

_RECORD_PROGRESS = """
if (window === window.top) {
  window.mlenvSeen = [];
  const text = name => document.querySelector(`.jp-mlenv-Card .jp-mlenv-${name}`)?.textContent ?? '';
  new MutationObserver(() => {
    const step = document.querySelector('.jp-mlenv-Steps .jp-mod-now')?.textContent;
    if (!step) return;
    const now = [step, text('Progress-message'), text('Progress-numbers')];
    const seen = window.mlenvSeen;
    if (JSON.stringify(seen[seen.length - 1]) !== JSON.stringify(now)) seen.push(now);
  }).observe(document, {subtree: true, childList: true, characterData: true});
}
"""


SLOW_PLUGIN = re.compile(r"Plugin \S+ .* took [\d.]+ms to activate")
"""What JupyterLab says about a plugin on a busy machine."""


@dataclass(frozen=True)
class Shown:
    """One state of the progress view: which of the steps is on, what the line below says, and its numbers."""

    step: str
    message: str
    numbers: str

    @property
    def percent(self) -> int | None:
        match = re.search(r"(\d+) %", self.numbers)
        return int(match[1]) if match else None


def record_progress(page: Page) -> None:
    """Remember every state of the progress view; call it before the page is loaded."""
    page.add_init_script(_RECORD_PROGRESS)


def recorded_progress(page: Page) -> list[Shown]:
    """What the progress view has shown since the page was loaded, in order."""
    return [Shown(*row) for row in page.evaluate("window.mlenvSeen")]


class Console:
    """Errors and warnings of a page's console that are ours, and errors of what runs behind our proxy.

    Warnings of the proxied programs are their own: TensorBoard has one whenever it starts.
    """

    def __init__(self, page: Page) -> None:
        self.expected: list[str] = []
        """Regular expressions of what a test provokes."""
        self._said: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", self._raised)

    @property
    def network_changed(self) -> bool:
        """Whether Chromium dropped requests since an address of the machine changed, as when any container starts."""
        return any("ERR_NETWORK_CHANGED" in text for text in self._said)

    def ours(self) -> list[str]:
        """What was said and not expected; nothing where requests were dropped: no fault can be told from that."""
        if self.network_changed:
            return []
        return [text for text in self._said if not any(re.search(pattern, text) for pattern in self.expected)]

    def _heard(self, message: ConsoleMessage) -> None:
        if SLOW_PLUGIN.match(message.text):
            return
        place = message.location.get("url", "")
        if message.type == "error" or (message.type == "warning" and "/mlenv/envs/" not in place):
            self._keep(f"{message.type}: {message.text} ({place})")

    def _raised(self, error: Error) -> None:
        self._keep(f"uncaught: {error.message}\n{error.stack or ''}")

    def _keep(self, text: str) -> None:
        if "mlenv" in text:
            self._said.append(text)
