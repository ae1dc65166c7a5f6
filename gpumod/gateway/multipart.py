"""Finds a field in a form (RFC 7578) without taking the form apart: files in it may be large."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gpumod.core.errors import InvalidRequestError

_BOUNDARY: Final = re.compile(rb';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(
    rb'^content-disposition\s*:[^\r\n]*;\s*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE | re.MULTILINE
)
_MOST_PARTS: Final = 1000
_LONGEST_HEAD: Final = 8192


@dataclass(frozen=True, slots=True)
class Field:
    """A field's value and where it stands in the body."""

    value: bytes
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a content type names.

    Raises:
        InvalidRequestError: it names none.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InvalidRequestError("the content type of the form names no boundary")
    return found[1] or found[2]


def field(body: bytes | bytearray, boundary: bytes, name: bytes) -> Field | None:
    """The first field of a name; None where there is none.

    Raises:
        InvalidRequestError: the form is not well-formed as far as it was read.
    """
    mark = b"--" + boundary
    at = body.find(mark)
    for _ in range(_MOST_PARTS):
        if at < 0:
            raise InvalidRequestError("the form does not end with its boundary")
        head = at + len(mark)
        if body[head : head + 2] == b"--":
            return None
        start = body.find(b"\r\n\r\n", head, head + _LONGEST_HEAD)
        if start < 0:
            raise InvalidRequestError("a part of the form has no end of its headers")
        start += 4
        end = body.find(b"\r\n" + mark, start - 2)
        if end < 0:
            raise InvalidRequestError("the form does not end with its boundary")
        found = _NAME.search(bytes(body[head + 2 : start]))
        if found is not None and (found[1] if found[1] is not None else found[2]) == name:
            return Field(bytes(body[start : max(start, end)]), start, max(start, end))
        at = end + 2
    raise InvalidRequestError(f"the form has more than {_MOST_PARTS} parts")
