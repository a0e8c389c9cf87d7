"""The base of the REST handlers: rights, the form of errors, the use cases that they call."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

from ..errors import MlenvError, RequestInvalid
from ..http_errors import as_error
from ..proxy.origin import OriginPolicy
from . import validation

if TYPE_CHECKING:
    from ..environments import Environments
    from ..environments.job import Job
    from ..environments.model import Environment

HINTS = {
    403: "Log in again, or ask the server's administrator for access. With a cookie, X-XSRFToken is needed too.",
    404: "The API is described by mlenv/api/openapi.json.",
    405: "The API is described by mlenv/api/openapi.json.",
}


class ErrorsAsJson(JupyterHandler):
    """Mixin: every error is answered with the error object; one of ours leaves no traceback in the log."""

    auth_resource = "mlenv"

    async def prepare(self, **options: Any) -> None:
        try:
            await super().prepare(**options)
        except web.HTTPError as error:
            if error.status_code != HTTPStatus.NOT_FOUND:
                raise
            # jupyter_server's answer to a foreign Origin or Referer; there is no other 404 before the verb.
            raise web.HTTPError(403, "A page of another web site may not use this server") from error
        if self.current_user is None and not self.preflight:
            raise web.HTTPError(403)  # whatever the verb, so that no answer tells what there is

    @property
    def preflight(self) -> bool:
        """Does a browser ask for a page of an origin that `allow_origin` names? It cannot send a login with that."""
        headers = self.request.headers
        if self.request.method != "OPTIONS" or "Access-Control-Request-Method" not in headers:
            return False
        return OriginPolicy(self.allow_origin, self.allow_origin_pat).lets_read(headers)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error((kwargs.get("exc_info") or (None, None, None))[1], status_code, HINTS)
        self.set_status(error.status)
        if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.allowed_methods()))
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(error.to_json()))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if isinstance(value, MlenvError):
            self.log.warning("%s %s: %s (%s)", self.request.method, self.request.path, value.message, value.code)
        else:
            super().log_exception(typ, value, tb)

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The verbs that this resource has."""
        unimplemented = web.RequestHandler._unimplemented_method
        return [verb for verb in cls.SUPPORTED_METHODS if getattr(cls, verb.lower()) is not unimplemented]


class MlenvHandler(ErrorsAsJson, APIHandler):
    """Base of the REST handlers: each verb reads, calls one use case, answers."""

    @allow_unauthenticated
    async def options(self, *args: str) -> None:  # type: ignore[override]
        if self.preflight:
            super().options(*args)
        else:
            await self._options(*args)

    @authorized
    async def _options(self, *args: str) -> None:
        super().options(*args)

    @property
    def environments(self) -> Environments:
        return cast("Environments", self.settings["mlenv"])

    def body(self) -> dict[str, Any]:
        """The JSON object of the request. Raises RequestInvalid."""
        return validation.json_object(self.request.body)

    def argument(self, name: str, default: str = "") -> str:
        """A query argument as it was sent; tornado's own access turns control characters into spaces.

        Raises RequestInvalid if it is there twice, or is no UTF-8.
        """
        given = self.request.query_arguments.get(name, [])
        if len(given) > 1:
            raise RequestInvalid(f"The argument {name!r} is there more than once.", details={"field": name})
        try:
            return given[0].decode() if given else default
        except UnicodeDecodeError as error:
            raise RequestInvalid(f"The argument {name!r} is not UTF-8.", details={"field": name}) from error

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number of the query. Raises RequestInvalid."""
        return validation.count(name, self.argument(name, str(default)), least=least, most=most)

    def answer(self, body: object, status: int = 200) -> None:
        """Finish with a JSON body."""
        self.set_status(status)
        self.finish(json.dumps(body))

    def accepted(self, environment: Environment, job: Job) -> None:
        """Finish with the environment and the job that works on it."""
        self.answer({"environment": environment.to_json(self.base_url), "job": job.to_json()}, 202)

    def nothing(self) -> None:
        """Finish without a body."""
        self.set_status(204)
        self.finish()
