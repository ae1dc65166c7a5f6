"""Errors as each client understands them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from gpumod.gateway.exchange import Answer, Dialect

JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", b"application/problem+json")

_OPENAI_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_answer(
    dialect: Dialect,
    status: int,
    code: str,
    message: str,
    facts: Mapping[str, object] | None = None,
    *,
    retry_after: float | None = None,
    close: bool = False,
) -> Answer:
    """A whole error.

    Args:
        dialect: whose shape it has.
        status: of HTTP.
        code: stable, for programs.
        message: a sentence that says what is wrong and what to do.
        facts: the numbers behind it, JSON-compatible.
        retry_after: seconds after which the same request may succeed; rounded up, at least 1.
        close: whether the rest of the request was not read.
    """
    document = error_document(dialect, status, code, message, facts)
    kind = _PROBLEM if dialect is Dialect.PLAIN else JSON
    headers: tuple[tuple[bytes, bytes], ...] = (kind,)
    if retry_after is not None:
        headers += ((b"retry-after", str(max(1, math.ceil(retry_after))).encode()),)
    return Answer(status, _dump(document), headers, close=close)


def error_document(
    dialect: Dialect, status: int, code: str, message: str, facts: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """An error's JSON. OpenAI's shape and Anthropic's are their clients'; problem JSON is RFC 9457."""
    more = dict(facts or {})
    if dialect is Dialect.OPENAI:
        kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": code, **_apart(more)}}
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message, "code": code, **_apart(more)}}
    return {"type": "about:blank", "title": code, "status": status, "detail": message, "code": code, **more}


def code_of(answer: Answer) -> str:
    """The code in an error that `error_answer` made."""
    document = json.loads(answer.body)
    return str(document.get("error", document).get("code", ""))


def _apart(facts: dict[str, object]) -> dict[str, object]:
    """Facts in a member of their own: no name of theirs takes the place of the shape's."""
    return {"facts": facts} if facts else {}


def error_event(dialect: Dialect, answer: Answer) -> bytes:
    """An error as the end of a stream that has begun, with the dialect's end mark.

    Where an engine's own error is passed on, its document stays as it is if it is JSON.
    """
    try:
        document = json.loads(answer.body)
    except ValueError:
        text = answer.body[:500].decode("utf-8", "replace") or f"status {answer.status}"
        document = error_document(dialect, answer.status, "upstream_error", text)
    line = _dump(document)  # one line: line breaks in strings are escaped
    if dialect is Dialect.ANTHROPIC:
        return b"event: error\ndata: " + line + b"\n\n"
    return b"data: " + line + b"\n\ndata: [DONE]\n\n"


KEEP_ALIVE: Final = b": waiting\n\n"
"""A comment: every reader of event streams skips it (WHATWG HTML, server-sent events)."""
_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


def keep_alive(dialect: Dialect) -> bytes:
    """What a waiting stream gets. Anthropic's streams have an event for it, which its clients expect."""
    return _PING if dialect is Dialect.ANTHROPIC else KEEP_ALIVE


def _dump(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
