"""Reads the headers of safetensors files, never their tensors.

The format: 8 bytes with the header's length, little endian, and the header, a JSON object from names to
type, shape and place; `__metadata__` is from text to text. The header is scanned entry by entry, since a
parser of JSON would build up to twenty times as many bytes of objects as a hostile header has.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.regular import open_regular

LARGEST_HEADER: Final = 48 * 1024**2
"""Bytes of one file's header. The largest real ones, of 256 experts per layer, have about 20 million."""

DTYPE_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
"""Bits of one value, by the format's names of types."""

_MOST_DIMENSIONS: Final = 16
_LONGEST_ENTRY: Final = 2048
_LENGTH: Final = 8
_TEXT: Final = r'"((?:[^"\\]|\\.)*+)"'
_BETWEEN: Final = r"\s*+(?:,\s*+(?=\")|(?=\}))"
_SEPARATOR: Final = re.compile(_BETWEEN)
_USUAL: Final = re.compile(
    _TEXT + r'\s*+:\s*+\{\s*+"dtype"\s*+:\s*+"(\w{1,16})"\s*+,\s*+"shape"\s*+:\s*+\[([\d,\s]{0,400})\]\s*+,'
    r'\s*+"data_offsets"\s*+:\s*+\[\s*+(\d{1,19})\s*+,\s*+(\d{1,19})\s*+\]\s*+\}' + _BETWEEN
)
"""An entry as the format's own library writes it."""
_NAME: Final = re.compile(_TEXT + r"\s*+:\s*+")
_METADATA: Final = re.compile(
    r'\{\s*+(?:"(?:[^"\\]|\\.)*+"\s*+:\s*+"(?:[^"\\]|\\.)*+"\s*+(?:,\s*+)?+)*+\}', re.DOTALL
)
_START: Final = re.compile(r"\{\s*+")


class Entry(NamedTuple):
    """One tensor of a file: name, type, shape, bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def read_header(path: Path) -> Iterator[Entry]:
    """The tensors of a file, in the header's order.

    Raises:
        ModelFileError: the file is missing, cut off, too short for its tensors or not of this format.
    """
    text, data = _header(path)
    place, total = _START.match(text).end(), 0  # type: ignore[union-attr]  # the first character was checked
    while not text.startswith("}", place):
        entry, place = _entry(path, text, place, data)
        if entry is not None:
            total += entry.size
            if total > data:
                raise _broken(path, "its tensors overlap")
            yield entry


def _header(path: Path) -> tuple[str, int]:
    """The header's text, and the bytes of data that follow it."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(_LENGTH)
            length = int.from_bytes(first, "little")
            if len(first) < _LENGTH or length > size - _LENGTH:
                raise _broken(path, f"it has {size} bytes and its header would need {length}: it is cut off")
            if length > LARGEST_HEADER:
                raise _broken(path, f"its header would have {length} bytes")
            text = file.read(length)
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}: check the preset's `model`") from None
    try:
        header = text.decode()
    except UnicodeDecodeError:
        raise _broken(path, "its header is not text") from None
    if not header.startswith("{"):
        raise _broken(path, "its header is not JSON")
    return header, size - _LENGTH - length


def _entry(path: Path, text: str, place: int, data: int) -> tuple[Entry | None, int]:
    usual = _USUAL.match(text, place)
    if usual is not None:
        name, dtype, sizes, start, stop = usual.groups()
        shape = tuple(map(int, sizes.split(","))) if sizes.strip() else ()
        name = name if "\\" not in name else json.loads(f'"{name}"')
        return _checked(path, name, dtype, shape, int(start), int(stop), data), usual.end()
    named = _NAME.match(text, place)
    if named is None:
        raise _broken(path, f"its header cannot be read at character {place}")
    if named[1] == "__metadata__":
        metadata = _METADATA.match(text, named.end())
        if metadata is None:
            raise _broken(path, "its metadata is not text")
        return None, _next(path, text, metadata.end())
    end = text.find("}", named.end(), named.end() + _LONGEST_ENTRY) + 1
    try:
        value = json.loads(text[named.end() : end])
        start, stop = value["data_offsets"]
        shape = tuple(value["shape"])
        dtype = value["dtype"]
        whole = all(type(number) is int for number in (*shape, start, stop))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _broken(path, f"its header has no type, shape and place for `{named[1][:80]}`") from None
    if not whole or not isinstance(dtype, str):
        raise _broken(path, f"its header has a wrong type, shape or place for `{named[1][:80]}`")
    return _checked(path, named[1], dtype, shape, start, stop, data), _next(path, text, end)


def _next(path: Path, text: str, place: int) -> int:
    """Where the next entry or the header's end is, behind an entry that ends at `place`."""
    separator = _SEPARATOR.match(text, place)
    if separator is None:
        raise _broken(path, f"its header cannot be read at character {place}")
    return separator.end()


def _checked(
    path: Path, name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int, data: int
) -> Entry:
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        words = f"`{name[:80]}` is of a type that is not known here, {dtype[:20]!r}"
        raise ModelFileError(f"{path}: {words}", broken=False)
    if len(shape) > _MOST_DIMENSIONS or (shape and not 0 <= min(shape) <= max(shape) < 2**48):
        raise _broken(path, f"`{name[:80]}` has an impossible shape")
    if not 0 <= start <= stop or (math.prod(shape) * bits + 7) // 8 != stop - start:
        raise _broken(path, f"`{name[:80]}` does not have as many bytes as its shape says")
    if stop > data:
        raise _broken(path, f"it ends before `{name[:80]}` does: it is cut off")
    return Entry(name, dtype, shape, stop - start)


def _broken(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: {what}: download the file again")
