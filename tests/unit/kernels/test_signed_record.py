"""Notes about kernels: only the server that has sealed one believes it."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_mlenv.kernels.signed_record import Notes

NOTES = Notes(b"secret", "/ /work")
CONTENT = {"kernel_name": "mlenv-host", "sessions": [{"path": "näme.ipynb"}]}


def test_what_was_sealed_is_read() -> None:
    assert Notes(b"secret", "/ /work").read(NOTES.seal(CONTENT)) == CONTENT


@pytest.mark.parametrize("other", [Notes(b"other", "/ /work"), Notes(b"secret", "/ /elsewhere")])
def test_another_servers_note_is_not(other: Notes) -> None:
    assert other.read(NOTES.seal(CONTENT)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"text": "{}"},
        {"text": None},
        {"seal": ""},
        {"seal": "é"},
        {"seal": 7},
        {"text": '{"kernel_name": "python3"}'},
    ],
)
def test_a_changed_note_is_not(change: dict[str, Any]) -> None:
    assert NOTES.read({**NOTES.seal(CONTENT), **change}) is None


def test_no_note_is_none() -> None:
    assert NOTES.read({}) is None
