"""Texts that somebody else wrote, so that they stay texts: in a line, in Markdown, in a shell and in JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

_LONGEST: Final = 400
_DEEPEST: Final = 20
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_DECEPTIVE: Final = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""They turn the order of what follows, so that a text reads as another one; and halves of characters."""
_CODE_BREAKS: Final = frozenset("`|\\")
_ENTITIES: Final = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>|\\`*[]~$!"})
_EDGE_UNDERSCORE: Final = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK: Final = re.compile(r":(?=//)|\.(?<=www\.)", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"[@#](?=\w)")
_JOINER: Final = "\u2060"
"""WORD JOINER: invisible; behind an @ or # it keeps forges from mentioning a person or an issue."""


def plain(text: object, longest: int = _LONGEST) -> str:
    """A text as one line without control characters; what is beyond `longest` characters is left out."""
    shown = _CONTROL.sub(" ", str(text)[: 4 * longest])
    line = _DECEPTIVE.sub("\ufffd", " ".join(shown.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def markdown_text(text: object, longest: int = _LONGEST) -> str:
    """A text in Markdown, in a cell of a table too: nothing in it is markup, a link or a mention."""
    line = _REFERENCE.sub(lambda found: found[0] + _JOINER, plain(text, longest))
    line = _EDGE_UNDERSCORE.sub("&#95;", line.translate(_ENTITIES))
    return _LINK.sub(lambda found: f"&#{ord(found[0])};", line)


def markdown_code(text: object, longest: int = _LONGEST) -> str:
    """A name in Markdown as code, in a cell of a table too; as text where code could not hold it."""
    line = plain(text, longest)
    if not line or _CODE_BREAKS & set(line):
        return markdown_text(line, longest)
    return f"`{line}`"


def fenced(text: str, language: str) -> str:
    """A block of code in Markdown, with a fence that the text does not have in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def jsonable(value: object, depth: int = 0) -> JsonValue:
    """A value as JSON has it: no infinities, no lone surrogates, no nesting without end."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(jsonable(str(key))): jsonable(one, depth + 1) for key, one in value.items()}
    if depth < _DEEPEST and isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [jsonable(one, depth + 1) for one in value]
    return plain(value)


def compact(value: object, longest: int = _LONGEST) -> str:
    """A JSON value in one line for people: a text without quotes, a mapping as `name=value`."""
    if isinstance(value, str):
        return plain(value, longest)
    if isinstance(value, Mapping) and all(not isinstance(one, Mapping) for one in value.values()):
        return plain(", ".join(f"{key}={compact(one)}" for key, one in value.items()), longest)
    if isinstance(value, bool | int) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    return plain(json.dumps(jsonable(value), ensure_ascii=False), longest)
