"""Our errors as jupyter_client and a Jupyter server take them."""

from __future__ import annotations

from tornado.web import HTTPError

from ..errors import ConsentRequired, MlenvError

LOG_LINES = 20
"""Lines of a log that are shown with an error."""


class KernelError(HTTPError):
    """The reason why a kernel could not be started, all in its text: Jupyter shows nothing else of an exception.

    To the kernels API of a Jupyter server any other kind is an "Unhandled error" without a text.
    A question that has to be answered first is no failure (409).
    """

    def __init__(self, error: MlenvError) -> None:
        log = "".join(f"\n  {line}" for line in error.log[-LOG_LINES:])
        self.text = f"{error.message} {error.hint}".strip() + log
        super().__init__(error.status if isinstance(error, ConsentRequired) else 500, self.text)
        self.error = error

    def __str__(self) -> str:
        return self.text
