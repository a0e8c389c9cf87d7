"""A `Reporter` that remembers."""

from __future__ import annotations

from jupyter_mlenv.engines.model import Progress


class Recorder:
    """Keeps every progress and log line, in order."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.lines: list[str] = []

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def log(self, line: str) -> None:
        self.lines.append(line)

    def note(self, sentence: str) -> None:
        self.lines.append(sentence)
