"""The metadata of a GGUF: keys and values."""

from __future__ import annotations

import struct
from typing import Final

from gpumod.core.units import MIB
from gpumod.estimate.gguf.header import SkippedArray, Value
from gpumod.estimate.gguf.source import Source, shown

_BOOL: Final = 7
_STRING: Final = 8
_ARRAY: Final = 9
_CODES: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Of `struct`, by `enum gguf_type` (gguf.h)."""

_LONGEST_KEY: Final = 2**16 - 1
"""The format's own limit."""
_LONGEST_TEXT: Final = MIB
"""Longer ones are whole tokenizers in JSON; chat templates have some ten kilobytes."""
_MOST_NUMBERS: Final = 4096
_MOST_STRINGS: Final = 64

_ENTRY_MEMORY: Final = 250
_TEXT_MEMORY: Final = 60
_NUMBER_MEMORY: Final = 40
"""What CPython takes for an entry of a dict with its key, a string and a number in a tuple, rounded up."""


def read_metadata(source: Source, count: int) -> dict[str, Value | SkippedArray]:
    """Read so many keys with their values; long arrays are stepped over.

    Raises:
        ModelFileError: the metadata is cut off, corrupt or larger than that of any model.
    """
    metadata: dict[str, Value | SkippedArray] = {}
    for _ in range(count):
        key = read_name(source, "metadata key", _LONGEST_KEY)
        source.keep(_ENTRY_MEMORY + len(key))
        if not key:
            source.fail("is corrupt: a metadata key is empty; fetch it again")
        if key in metadata:
            source.fail(f"is corrupt: it has the metadata key {shown(key)} twice")
        kind = source.u32()
        metadata[key] = _array(source, key) if kind == _ARRAY else _single(source, key, kind)
    return metadata


def read_name(source: Source, what: str, longest: int) -> str:
    """A short string that has to be valid UTF-8: a key or a tensor's name."""
    length = source.u64()
    if length > longest:
        source.fail(f"is corrupt: a {what} of {length} bytes; fetch it again")
    try:
        return source.take(length).decode()
    except UnicodeDecodeError:
        source.fail(f"is corrupt: a {what} is not text; fetch it again")


def _single(source: Source, key: str, kind: int) -> Value | SkippedArray:
    if kind == _STRING:
        return _text(source)
    code = _code(source, key, kind)
    value: Value = struct.unpack(code, source.take(struct.calcsize(code)))[0]
    return value


def _text(source: Source) -> str | SkippedArray:
    length = source.u64()
    if length > _LONGEST_TEXT:
        source.skip(length)
        return SkippedArray(length)
    return _decoded(source, length)


def _decoded(source: Source, length: int) -> str:
    # Four bytes for a character at worst; an invalid byte becomes one replacement character.
    source.keep(_TEXT_MEMORY + 4 * length)
    return source.take(length).decode(errors="replace")


def _array(source: Source, key: str) -> Value | SkippedArray:
    kind, length = source.u32(), source.u64()
    if kind == _STRING:
        if length > _MOST_STRINGS:
            source.skip_strings(length)
            return SkippedArray(length)
        return tuple([_decoded(source, source.u64()) for _ in range(length)])
    code = _code(source, key, kind)
    size = struct.calcsize(code) * length
    if length > _MOST_NUMBERS:
        source.skip(size)
        return SkippedArray(length)
    source.keep(_NUMBER_MEMORY * length)
    return struct.unpack(f"<{length}{code[1:]}", source.take(size))


def _code(source: Source, key: str, kind: int) -> str:
    code = _CODES.get(kind)
    if code is None:
        what = "an array of arrays" if kind == _ARRAY else f"a value of the unknown type {kind}"
        source.fail_unknown(f"is corrupt or too new: {shown(key)} is {what}, which llama.cpp does not read")
    return f"<{code}"
