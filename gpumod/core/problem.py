"""Errors as problem documents (RFC 9457): one shape for the API, its clients and `gpumodctl --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpumod.core import errors
from gpumod.core.errors import ErrorCode, GpumodError

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP_STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.INTERNAL: 500,
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.REFUSED: 409,
    ErrorCode.SWITCH_RUNNING: 409,
    ErrorCode.NOT_ALLOWED: 403,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.STORE: 503,
    ErrorCode.CONFIG: 422,
    ErrorCode.TIMED_OUT: 504,
    ErrorCode.UNREACHABLE: 503,
    ErrorCode.ALREADY_RUNNING: 409,
    ErrorCode.NEWER_SCHEMA: 500,
    ErrorCode.ILLEGAL_TRANSITION: 500,
    ErrorCode.START_FAILED: 500,
    ErrorCode.STOP_FAILED: 500,
    ErrorCode.MEMORY_HELD: 500,
    ErrorCode.CANCELLED: 409,
    ErrorCode.IDEMPOTENCY_MISMATCH: 422,
    ErrorCode.TOO_MANY: 429,
}
"""The HTTP status that goes with a code."""

_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code"})

_CLASSES: Final[Mapping[str, type[GpumodError]]] = {
    one.code: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, GpumodError) and one is not errors.IllegalTransitionError
}


def problem_from(error: GpumodError) -> dict[str, object]:
    """The problem document of an error; its facts are further members of it."""
    extra = {key: value for key, value in error.facts.items() if key not in _MEMBERS}
    return {
        "type": "about:blank",
        "title": error.code.replace("_", " ").capitalize(),
        "status": HTTP_STATUS[error.code],
        "detail": error.detail,
        "code": str(error.code),
        **extra,
    }


def error_from(problem: Mapping[str, object]) -> GpumodError:
    """The error that a problem document tells of; one that is not known is a plain GpumodError."""
    error_class = _CLASSES.get(str(problem.get("code", "")), GpumodError)
    detail = problem.get("detail") or problem.get("title") or "the daemon gave no reason"
    facts = {key: value for key, value in problem.items() if key not in _MEMBERS}
    return error_class(str(detail), facts)
