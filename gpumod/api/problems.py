"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gpumod.api.bodies import NAME, TEXT
from gpumod.api.wire import clean, dumps
from gpumod.core.errors import GpumodError, InvalidRequestError, NotFoundError
from gpumod.core.problem import HTTP_STATUS, problem_from

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE: Final = "application/problem+json"
_WORDS: Final = {"extra_forbidden": "is not known here", "missing": "is missing"}
"""What pydantic says in the terms of Python classes."""
_PATTERNS: Final = {
    NAME: "has to be a name: letters, digits, '.', '_', ':' and '-', at most 128",
    TEXT: "has to be one line of text",
}
_KINDS: Final = {401: "authentication_error", 403: "permission_error"}
_ALTERNATIVES: Final = frozenset({"bool", "constrained-float"})
_log = logging.getLogger(__name__)


def problem(
    error: GpumodError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that tells of an error; `status` where the code's own does not fit."""
    document = problem_from(error)
    status = status or HTTP_STATUS[error.code]
    more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(
        dumps({**document, "status": status}), status, {**more, **(headers or {})}, media_type=MEDIA_TYPE
    )


def model_problem(error: GpumodError, status: int) -> Response:
    """The same for clients of OpenAI and of Anthropic, who ask below `/v1`: both understand the document."""
    kind = _KINDS.get(status, "invalid_request_error")
    told = {"type": kind, "message": error.detail, "param": None, "code": str(error.code)}
    more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(dumps({"type": "error", "error": told}), status, more, media_type="application/json")


def internal(error: Exception) -> Response:
    """The answer to what nobody expected; the log has the rest."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem(GpumodError("an unexpected error; the daemon's log has the details"))


def handle_errors(app: FastAPI) -> None:
    """Have every error of the app answered by a problem document."""
    app.add_exception_handler(GpumodError, _gpumod)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _gpumod(_: Request, error: Exception) -> Response:
    assert isinstance(error, GpumodError)  # noqa: S101 - for the type checker
    if HTTP_STATUS[error.code] >= 500:
        _log.error("%s", error.detail)
    return problem(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    errors = [{"where": _where(one["loc"]), "detail": clean(_words(one))} for one in error.errors()]
    detail = "; ".join(f"{one['where']}: {one['detail']}" for one in errors)
    return problem(InvalidRequestError(detail, {"errors": errors}))


def _words(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, in plain words."""
    if error["type"] == "string_pattern_mismatch":
        return f"{_PATTERNS.get(error['ctx']['pattern'], 'has another form')}, not {error['input']!r:.200}"
    told: str = _WORDS.get(error["type"]) or error["msg"]
    return told.removeprefix("Value error, ")


def _where(location: Sequence[str | int]) -> str:
    """A dotted path, without the names of the alternatives that a value could have been."""
    return clean(".".join(str(part) for part in location if part not in _ALTERNATIVES))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    path = clean(request.url.path)
    if error.status_code == 404:
        return nothing_at(request.url.path)
    if error.status_code == 405:
        return wrong_method(path, request.app.state.routes.methods(request.url.path))
    # FastAPI's 400 is a body that is not even text; to a caller that is one more unreadable body.
    status = 422 if error.status_code == 400 else error.status_code
    return problem(InvalidRequestError(clean(str(error.detail))), status=status)


def nothing_at(path: str) -> Response:
    """The answer to a path that there is not."""
    return problem(NotFoundError(f"there is nothing at {clean(path)}"))


def wrong_method(path: str, methods: Collection[str]) -> Response:
    """The answer to a method that a path does not have."""
    allow = ", ".join(sorted(methods))
    return problem(
        InvalidRequestError(f"{clean(path)} answers to {allow}"), status=405, headers={"Allow": allow}
    )
