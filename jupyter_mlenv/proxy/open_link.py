"""Addresses that the command line gives a browser: sealed, so that they open without a question. Pure.

`jupyter mlenv open` hands the address over in a file, and for a browser a page from a file is another web site. Whoever
can seal an address knows the server's token, and so may open it anyway.
"""

from __future__ import annotations

import hashlib
import hmac

ARGUMENT = "mlenv-open"


def sealed(token: str, target: str) -> str:
    """Return the path and query with a seal; unchanged where there is no token, or a fragment."""
    if not token or "#" in target:
        return target
    return f"{target}{'&' if '?' in target else '?'}{ARGUMENT}={_seal(token, target)}"


def opened(token: str, target: str) -> str:
    """Return the path and query that was sealed; empty if this is none."""
    plain, mark, seal = target.rpartition(f"{ARGUMENT}=")
    plain = plain[:-1]
    if not token or not mark or not seal.isascii():
        return ""
    return plain if hmac.compare_digest(seal, _seal(token, plain)) else ""


def _seal(token: str, target: str) -> str:
    return hmac.new(token.encode(), b"open " + target.encode(), hashlib.sha256).hexdigest()
