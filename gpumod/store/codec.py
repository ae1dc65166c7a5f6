"""Records as JSON and back, across versions of gpumod.

Fields that are missing take their defaults, fields that are unknown are left out. What cannot be read at
all is told in words and left in the file as it is: one bad row never prevents the daemon's start.
"""

from __future__ import annotations

import json
import logging
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json, to_jsonable_python

from gpumod.core.errors import StoreError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TOLD = 100
"""Unreadable rows that are told one by one."""


def encode(value: object) -> str:
    """JSON of a dataclass or of plain data; what JSON does not have becomes its `str()`.

    Infinity and NaN are kept as the constants that the decoder reads. Lone surrogates, as in the name of
    somebody's process, are replaced, since SQLite keeps UTF-8.

    Raises:
        StoreError: there is no JSON of it, since it contains itself.
    """
    try:
        return to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:
        pass
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants", fallback=str)
        return clean(json.dumps(plain, ensure_ascii=False))
    except ValueError as error:
        raise StoreError(f"a record cannot be written as JSON: {error}") from error


def clean(text: str) -> str:
    """The text without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


class Decoder:
    """Reads records, and remembers which rows it could not read.

    Attributes:
        unreadable: row -> a sentence that says what is wrong with it, for the first 100.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.unreadable: dict[str, str] = {}
        self._adapters: dict[type, TypeAdapter[Any]] = {}

    def decode(self, kind: type[T], text: str, row: str) -> T:
        """The record in `text`, the row being named as in `services 'chat'`.

        Raises:
            StoreError: it cannot be read; the sentence names the file and the row.
        """
        try:
            return self._adapter(kind).validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            problem = f"{first['msg']} ({where})" if where else first["msg"]
            detail = f"the row {row} of {self._path} cannot be read and is left out: {problem}"
            if self.unreadable.get(row) != detail and len(self.unreadable) < _TOLD:
                self.unreadable[row] = detail
                _log.error("%s", detail)
            raise StoreError(detail, {"file": self._path, "row": row, "problem": problem}) from None

    def decode_or_none(self, kind: type[T], text: str, row: str) -> T | None:
        """As `decode`; what cannot be read is None."""
        try:
            return self.decode(kind, text, row)
        except StoreError:
            return None

    def _adapter(self, kind: type[T]) -> TypeAdapter[T]:
        if kind not in self._adapters:
            self._adapters[kind] = TypeAdapter(kind)
        return self._adapters[kind]
