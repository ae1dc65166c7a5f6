"""The OpenAPI document: what FastAPI cannot see is added here."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gpumod.core.errors import ErrorCode

if TYPE_CHECKING:
    from fastapi import FastAPI

_NAMED: Final = "#/components/schemas/{model}"
_SUMMARY: Final = {
    401: "A key is needed, or the one that was sent is not known.",
    403: "The key, or the page that the request comes from, does not permit it.",
    404: "No such thing.",
    405: "Not with this method.",
    408: "The body did not arrive in time.",
    409: "Refused, with every reason; or another switch is under way.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    421: "The host name is not one that this daemon answers to.",
    422: "The request cannot be understood; every mistake is listed.",
    429: "Too many streams are open.",
    500: "A defect in gpumod.",
    503: "The store cannot be used; services go on running.",
    504: "No answer in time; what was asked for may still happen.",
}
_READING: Final = (401, 403, 405, 421, 422, 500, 503, 504)
_CHANGING: Final = (*_READING, 408, 413, 415)
_DESCRIPTION: Final = """\
Moves a box between modes and tells what it is like. Errors are problem documents (RFC 9457):
`code` is stable, `detail` is for people, and the numbers behind it are further members.

Sizes are bytes, durations seconds, instants Unix time in seconds. Values of environment variables are shown
as `***`."""


class ProblemError(BaseModel):
    """One mistake in a request."""

    where: str
    detail: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457). Further members are the numbers and names behind it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: ErrorCode
    errors: list[ProblemError] = Field(default=[], description="With `invalid_request`: every mistake.")
    reasons: list[dict[str, Any]] = Field(default=[], description="With `refused`: every reason.")
    switch: str = Field(default="", description="With `switch_running`: the id of that switch.")


_Responses = dict[int | str, dict[str, Any]]
_shown: dict[str, type] = {}
"""Core types that answers are made of, by their names in the document."""


def reading(of: Any, *more: int) -> _Responses:
    """The answers of a request that reads; `more` are statuses of its own errors.

    Answers are described here instead of by FastAPI's `response_model`, which would build a serialiser for
    each when the daemon starts and never use it.
    """
    return {200: shown(of, "As asked for."), **_problems(*_READING, *more)}


def changing(of: Any, *more: int, status: int = 200) -> _Responses:
    """The answers of a request that changes something."""
    return {status: shown(of, "Done."), **_problems(*_CHANGING, *more)}


def switching(of: Any) -> _Responses:
    """The answers of a request that begins a switch."""
    return {
        **changing(of, 404, 409),
        200: shown(of, "It has ended, or there was nothing to do."),
        202: shown(of, "The switch has begun; `Location` tells of it."),
    }


def queueing(of: Any, *more: int) -> _Responses:
    """The answers of a request that queues a job."""
    return {202: shown(of, "It is queued; `Location` tells of it."), **_problems(*_CHANGING, 404, *more)}


def streaming(of: Any, text: str, *more: int) -> _Responses:
    """The answers of a request that may be answered by a stream."""
    answers = reading(of, 429, *more)
    answers[200] = shown(of, text)
    answers[200]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return answers


def shown(of: Any, text: str) -> dict[str, Any]:
    """One answer in the document."""
    return {"description": text, "content": {"application/json": {"schema": _schema(of)}}}


def _schema(of: Any) -> dict[str, Any]:
    if get_origin(of) is tuple:
        return {"type": "array", "items": _schema(get_args(of)[0])}
    if get_origin(of) is UnionType:
        return {"anyOf": [_schema(one) for one in get_args(of)]}
    if get_origin(of) is dict or of is None:
        return {"type": "object"}
    _shown[of.__name__] = of
    return {"$ref": _NAMED.format(model=of.__name__)}


def _problems(*statuses: int) -> _Responses:
    return {status: _problem(status) for status in sorted(set(statuses))}


def _problem(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _NAMED.format(model="ProblemDocument")}}}
    return {"description": _SUMMARY[status], "content": content}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app; built once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=None
        )
        components = made.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas())
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        # Without configured keys, and on the Unix socket, none is needed.
        made["security"] = [{}, {"key": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    types = [*_shown.values(), ProblemDocument]
    asked = [(one.__name__, "serialization", TypeAdapter[Any](one)) for one in types]
    _, made = TypeAdapter.json_schemas(asked, ref_template=_NAMED)  # type: ignore[arg-type]
    definitions: dict[str, Any] = made["$defs"]
    return definitions
