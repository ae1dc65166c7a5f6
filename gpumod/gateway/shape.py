"""Reads the model's name in a request's body, and changes what a route asks for; the rest stays as it is.

A prompt may have megabytes: reading it as JSON costs milliseconds. The members `model` and `stream` are
looked for near its ends; where they are not found there, or are written in an odd way, the body is read
whole.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from gpumod.core.errors import InvalidRequestError
from gpumod.core.spec import RequestShape
from gpumod.gateway.exchange import Headers
from gpumod.gateway.multipart import Field, boundary_of, field

_NO_CHANGE: Final = RequestShape()
_NEAR: Final = 4096
"""Bytes from the start or to the end of a body that are looked through to know how deep a member lies."""
_TOKEN: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""A string, whole or cut where the search ends, or a bracket."""
_OPEN: Final = frozenset({b"{", b"["})
_CLOSED: Final = frozenset({b"}", b"]"})
_COLON: Final = re.compile(rb"\s*:")
_MODEL: Final = b'"model"'
_STREAM: Final = b'"stream"'
_MEMBERS: Final = frozenset({_MODEL, _STREAM})
_TEXT: Final = re.compile(rb'\s*:\s*"([^"\\\x00-\x1f\x80-\xff]*)"')
_TRUTH: Final = re.compile(rb"\s*:\s*(true|false)(?=[\s,}])")


@dataclass(frozen=True, slots=True)
class Named:
    """What a body says of where it goes.

    Args:
        model: empty where it names none.
        stream: whether a stream of events is asked for.
        span: where the model's name stands, without quotes; None where it is not known.
        json: whether the body is JSON.
    """

    model: str
    stream: bool
    span: tuple[int, int] | None = None
    json: bool = True


def read(headers: Headers, body: bytes | bytearray) -> Named:
    """The model and the stream flag of a body.

    Raises:
        InvalidRequestError: the body cannot be understood; the sentence says why.
    """
    kind = encoding = b""
    for name, value in headers:
        if name == b"content-type":
            kind = value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    if encoding not in {b"", b"identity"}:
        raise InvalidRequestError("the body is compressed: send it as it is")
    if kind[:10].lower() == b"multipart/":
        return _multipart(kind, body)
    return _search(body) or _whole(body)


def reshape(
    headers: Headers, body: bytes | bytearray, named: Named, served: str, shape: RequestShape = _NO_CHANGE
) -> bytes | bytearray:
    """The body for the engine: with the name that it serves the model under, and as the route shapes it.

    Raises:
        InvalidRequestError: the route changes JSON, and the body is none.
    """
    if shape == _NO_CHANGE:
        if named.model == served:
            return body
        if named.span is not None:
            start, end = named.span
            told = json.dumps(served)[1:-1] if named.json else served
            return b"".join((memoryview(body)[:start], told.encode(), memoryview(body)[end:]))
    if not named.json:
        return body if named.model == served else _with_model(headers, body, served)
    document = _document(body)
    document["model"] = served
    return json.dumps(_shaped(document, shape), ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _shaped(document: dict[str, Any], shape: RequestShape) -> dict[str, Any]:
    for name in shape.strip:
        document.pop(name, None)
    for name, text in shape.defaults:
        if document.get(name) is None:
            document[name] = json.loads(text)
    for name, text in shape.set:
        document[name] = json.loads(text)
    if shape.template:
        given = document.get("chat_template_kwargs")
        own = {name: json.loads(text) for name, text in shape.template}
        document["chat_template_kwargs"] = {**(given if isinstance(given, dict) else {}), **own}
    return document


def _search(body: bytes | bytearray) -> Named | None:
    """The members as they stand near the ends of the body, in the plainest form; else None.

    Clients write them before or behind what is long. Of a member that is there twice, any may be taken.
    """
    found = _in_front(body)
    if len(body) > _NEAR:
        for name in _MEMBERS - found.keys():
            at = _at_the_end(body, name)
            if at is not None:
                found[name] = at
    model = _TEXT.match(body, found[_MODEL]) if _MODEL in found else None
    if model is None:
        return None
    if _STREAM not in found:
        hidden = len(body) > _NEAR and body.find(_STREAM, _NEAR) >= 0
        return None if hidden else Named(model[1].decode(), stream=False, span=model.span(1))
    truth = _TRUTH.match(body, found[_STREAM])
    return Named(model[1].decode(), truth[1] == b"true", model.span(1)) if truth else None


def _in_front(body: bytes | bytearray) -> dict[bytes, int]:
    """Where the names of members at the top level end, among the first bytes."""
    found: dict[bytes, int] = {}
    depth = 0
    for token in _TOKEN.finditer(body, 0, _NEAR):
        mark = token[0]
        if mark in _OPEN:
            depth += 1
        elif mark in _CLOSED:
            depth -= 1
        elif depth == 1 and mark in _MEMBERS and _COLON.match(body, token.end()):
            found[mark] = token.end()
    return found


def _at_the_end(body: bytes | bytearray, name: bytes) -> int | None:
    """Where the name of a member at the top level ends, among the last bytes.

    In a string its quotes would be escaped, or the first is and the second ends the string.
    """
    at = body.rfind(name, len(body) - _NEAR)
    if at < 0 or body[at - 1 : at] == b"\\":
        return None
    depth = 0
    for token in _TOKEN.finditer(body, at):
        depth += (token[0] in _OPEN) - (token[0] in _CLOSED)
    return at + len(name) if depth == -1 else None


def _whole(body: bytes | bytearray) -> Named:
    document = _document(body)
    model, stream = document.get("model"), document.get("stream")
    if model is not None and not isinstance(model, str):
        raise InvalidRequestError(f"`model` is a text, not {json.dumps(model)[:60]}")
    return Named(model or "", stream is True)


def _document(body: bytes | bytearray) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not JSON: {str(error)[:120]}") from error
    if not isinstance(document, dict):
        raise InvalidRequestError("the body is not a JSON object")
    return document


def _multipart(kind: bytes, body: bytes | bytearray) -> Named:
    boundary = boundary_of(kind)
    model = field(body, boundary, b"model")
    stream = field(body, boundary, b"stream")
    told = stream is not None and stream.value.strip().lower() == b"true"
    if model is None:
        return Named("", told, json=False)
    return Named(_name(model), told, (model.start, model.end), json=False)


def _name(model: Field) -> str:
    try:
        return model.value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("the form's field `model` is not UTF-8") from error


def _with_model(headers: Headers, body: bytes | bytearray, served: str) -> bytes:
    """A form without a model's name gets one, as its first part."""
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    boundary = boundary_of(kind)
    head = b'\r\ncontent-disposition: form-data; name="model"\r\n\r\n'
    return b"".join((b"--", boundary, head, served.encode(), b"\r\n", body))
