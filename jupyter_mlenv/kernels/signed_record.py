"""Pure: what a server writes down about its kernels, for itself after it has been killed and started again.

A note lies with the kernel, in the agent, so it is gone when the kernel is. There everything inside the environment can
read and change it; a seal makes it worth something to its server alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


class Notes:
    """Seals and reads notes.

    Parameters
    ----------
    secret
        Of this person's servers on this machine, and in no container.
    server
        What tells a server from others of the same person, such as its root directory: notes of others are not read.
    """

    def __init__(self, secret: bytes, server: str) -> None:
        self._key = hashlib.sha256(b"jupyter-mlenv note\0" + secret + b"\0" + server.encode("utf-8", "surrogateescape"))

    def seal(self, content: Mapping[str, Any]) -> dict[str, str]:
        """A note that holds `content`, which is JSON."""
        text = json.dumps(content)
        return {"text": text, "seal": self._seal(text)}

    def read(self, note: Mapping[str, Any]) -> dict[str, Any] | None:
        """The content; None for a note that this server has not sealed as it is."""
        text, seal = note.get("text"), note.get("seal")
        if not isinstance(text, str) or not isinstance(seal, str) or not seal.isascii():
            return None
        try:
            if not hmac.compare_digest(seal, self._seal(text)):
                return None
        except UnicodeEncodeError:  # half a character, which no text of ours has
            return None
        content = json.loads(text)
        return content if isinstance(content, dict) else None

    def _seal(self, text: str) -> str:
        return hmac.new(self._key.digest(), text.encode(), hashlib.sha256).hexdigest()
