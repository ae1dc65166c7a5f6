"""Kinds of values in files: how each is checked, what it becomes, and its JSON Schema."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from gpumod.core.spec import CardRequest, DeclaredMemory
from gpumod.core.units import parse_duration, parse_size

_REFERENCE: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
SIZE_PATTERN: Final = rf"^\s*\d{{1,15}}(\.\d{{1,6}})?\s*([kKmMgGtT][iI]?)?[bB]\s*$|{_REFERENCE}"
DURATION_PATTERN: Final = rf"^\s*\d{{1,15}}(\.\d{{1,6}})?\s*(ms|s|m|min|h|d)\s*$|{_REFERENCE}"
ID_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
CARD_PATTERN: Final = r"^(GPU-[0-9A-Fa-f-]{1,64}|[0-9]{1,3}|host)$"
VARIABLE_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
PROGRAM_PATTERN: Final = r"^[^\x00-][^\x00]*$"
WORD_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
INSIDE_PATTERN: Final = r"^/[^:\x00]*$"
URL_PATH_PATTERN: Final = r"^/[^\x00-\x20]{0,511}$"
LISTEN_PATTERN: Final = r"^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}$"
PORTS_PATTERN: Final = r"^[0-9]{1,5}-[0-9]{1,5}$"
HOST_PATTERN: Final = r"^[A-Za-z0-9._:\[\]-]{1,253}$"
ORIGIN_PATTERN: Final = r"^https?://[^/\s]{1,253}$"
USER_PATTERN: Final = r"^[a-z_][a-z0-9_-]{0,31}$"
RATE_PATTERN: Final = r"^[1-9][0-9]{0,6}/(s|m|h)$"
MEMBER_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"
HASH_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"

PATTERN_WORDS: Final = {
    ID_PATTERN: "is not an id: lower-case letters, digits and . _ - only, at most 63, first no . _ -",
    MODEL_NAME_PATTERN: "is not a model's name: letters, digits and . _ : / @ + - only, at most 128",
    CARD_PATTERN: "is not a card: write its UUID (GPU-...), its index, or host",
    VARIABLE_PATTERN: "is not a variable's name: letters, digits and _ only, the first not a digit",
    PROGRAM_PATTERN: "is not a path or a name: it is empty, begins with -, or has a NUL character",
    WORD_PATTERN: "is not a name in an engine's vocabulary: letters, digits, _ and - only",
    INSIDE_PATTERN: "is not an absolute path inside the container",
    URL_PATH_PATTERN: "is not the path of a URL: it begins with / and has no blanks",
    LISTEN_PATTERN: "is not an address: write HOST:PORT, such as 127.0.0.1:7780 or [::1]:7780",
    PORTS_PATTERN: "is not a range of ports: write it as 18000-18999",
    HOST_PATTERN: "is not a host's name",
    ORIGIN_PATTERN: "is not an origin: write https://HOST or https://HOST:PORT",
    USER_PATTERN: "is not a user's name",
    RATE_PATTERN: "is not a rate: write requests and s, m or h, as 60/m",
    MEMBER_PATTERN: "is not the name of a member of a request: letters, digits and _ . - only, at most 64",
    HASH_PATTERN: "is not the hash of a key: write sha256: and 64 hexadecimal digits",
}
"""What to say of a text that does not match."""

_MOST_CARDS: Final = 64


class Strict(BaseModel):
    """A mapping in a file: unknown keys and values of another kind are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _size(value: object) -> int:
    return parse_size(_measured(value, "size with a unit, such as 20500MiB or 14.25GB"))


def _duration(value: object) -> float:
    return parse_duration(_measured(value, "duration with a unit, such as 240s, 10m or 500ms"))


def _some_time(value: object) -> float:
    seconds = _duration(value)
    if not seconds:
        raise ValueError(f"must be more than {value}")
    return seconds


def _measured(value: object, what: str) -> str:
    if not isinstance(value, str):
        shown = "nothing" if value is None else repr(value)
        raise ValueError(f"must be a {what}, not {shown[:80]}")  # noqa: TRY004 - as pydantic wants
    return value


_SIZE_SCHEMA: Final = {"type": "string", "pattern": SIZE_PATTERN}
_DURATION_SCHEMA: Final = {"type": "string", "pattern": DURATION_PATTERN}

Size = Annotated[int, PlainValidator(_size), WithJsonSchema(_SIZE_SCHEMA)]
Duration = Annotated[float, PlainValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
LongerThanZero = Annotated[float, PlainValidator(_some_time), WithJsonSchema(_DURATION_SCHEMA)]

Id = Annotated[str, Field(pattern=ID_PATTERN)]
ModelName = Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
VariableName = Annotated[str, Field(pattern=VARIABLE_PATTERN)]
CardName = Annotated[str, Field(pattern=CARD_PATTERN)]
Word = Annotated[str, Field(pattern=WORD_PATTERN)]
UrlPath = Annotated[str, Field(pattern=URL_PATH_PATTERN)]
Program = Annotated[str, Field(pattern=PROGRAM_PATTERN)]
"""What becomes one argument and must not look like an option: a path, an image, a program."""


def _whole(value: object) -> object:
    """JSON has no integers apart from numbers: 4.0 is 4 for every reader of the schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
# Bounds come first: behind a validator, pydantic writes them into the schema under names of its own.
Count = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(_whole)]
CountOrNone = Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(_whole)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_whole)]
DraftLength = Annotated[int, Field(ge=1, le=64), BeforeValidator(_whole)]
Priority = Annotated[int, Field(ge=-100, le=100), BeforeValidator(_whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


def _text(value: object) -> object:
    """Arguments and environment are text; a whole number is as good as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("has a NUL character, which no argument or variable can hold")
    return value


Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "integer"]})]


def _cards(value: object) -> CardRequest:
    value = _whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _MOST_CARDS:
            raise ValueError(f"must be 1 to {_MOST_CARDS} cards, not {value}")
        return CardRequest(count=value)
    if not isinstance(value, list):
        raise ValueError("must be how many cards, or a list of UUIDs or indexes")  # noqa: TRY004 - as pydantic wants
    exact = tuple(_card(one) for one in value)
    if not 1 <= len(exact) <= _MOST_CARDS:
        raise ValueError(f"must name 1 to {_MOST_CARDS} cards")
    if len(set(exact)) != len(exact):
        raise ValueError("names a card twice")
    return CardRequest(count=len(exact), exact=exact)


def _card(value: object) -> str:
    text = _text(_whole(value))
    if not isinstance(text, str) or not re.fullmatch(CARD_PATTERN, text):
        raise ValueError(f"{value!r} is not a card: write its UUID (GPU-...) or its index")
    return text


_CARD_SCHEMA: Final = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": 999}, {"type": "string", "pattern": CARD_PATTERN}]
}
Cards = Annotated[
    CardRequest,
    PlainValidator(_cards),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _MOST_CARDS},
                {
                    "type": "array",
                    "items": _CARD_SCHEMA,
                    "minItems": 1,
                    "maxItems": _MOST_CARDS,
                    "uniqueItems": True,
                },
            ]
        }
    ),
]


_SIZES_SCHEMA: Final = {
    "anyOf": [
        _SIZE_SCHEMA,
        {"type": "array", "items": _SIZE_SCHEMA, "minItems": 1, "maxItems": _MOST_CARDS},
    ]
}


class VramFile(Strict):
    """`vram:` in its longest form."""

    size: list[Size] = Field(min_length=1, max_length=_MOST_CARDS)
    force: bool = False

    def declared(self) -> DeclaredMemory:
        """The value that others use."""
        return DeclaredMemory(tuple(self.size), self.force)


def _vram(value: object) -> object:
    """Every way of writing `vram:` as the longest one; None for `auto`."""
    if value is None or value == "auto":
        return None
    if isinstance(value, str):
        return {"size": [value]}
    if isinstance(value, list):
        return {"size": value}
    if isinstance(value, dict) and isinstance(value.get("size"), str):
        return {**value, "size": [value["size"]]}
    if isinstance(value, dict):
        return value
    raise ValueError("must be auto, a size such as 20500MiB, a list of sizes, or {size: ..., force: true}")


Vram = Annotated[
    VramFile | None,
    BeforeValidator(_vram),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto", None]},
                *_SIZES_SCHEMA["anyOf"],
                {
                    "type": "object",
                    "properties": {"size": _SIZES_SCHEMA, "force": {"type": "boolean"}},
                    "required": ["size"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def one_or_many(value: object) -> object:
    """One value where a list may stand."""
    return [value] if isinstance(value, str) else value
