"""Exceptions as errors of the tree, for the REST API's objects and the proxy's pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from tornado import web

from .errors import MlenvError

CODES = {
    400: "request_invalid",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
}
"""Codes of errors that jupyter_server and tornado raise before any of our code runs."""

NO_HINTS: Mapping[int, str] = {}


def as_error(error: BaseException | None, status: int, hints: Mapping[int, str] = NO_HINTS) -> MlenvError:
    """Return what answers a request that ended with `error`, with its code and its status.

    The one place that turns an exception into either. `status` is tornado's, and counts where the error is none of
    ours; `hints` say by status what to do then.
    """
    if isinstance(error, MlenvError):
        return error
    if error is None or isinstance(error, web.HTTPError):
        message = (_message(error) if error is not None else "") or reason_phrase(status)
        answer = MlenvError(message if message.endswith((".", "!")) else f"{message}.", hint=hints.get(status, ""))
        answer.code = CODES.get(status, "error")
    else:
        failed = f"The Jupyter server failed unexpectedly: {type(error).__name__}."
        answer = MlenvError(failed, hint="The server's own log says more.")
        answer.code = "internal_error"
    answer.status = status
    return answer


def _message(error: web.HTTPError) -> str:
    """Return the text of one of tornado's errors, which may have none."""
    message = error.log_message or ""
    return (message % error.args if error.args else message) or error.reason or ""


def reason_phrase(status: int) -> str:
    """Return the standard phrase of a status, `Unknown` for others."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
