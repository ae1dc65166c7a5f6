"""The GGUF format as bytes: metadata entries, tensor descriptions and the header before the data.

Format: docs/gguf.md of ggml, version 3, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS

ALIGNMENT: Final = 32
"""Of each tensor's data, in bytes: the format's default."""

_KINDS: Final = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
_STRING: Final = 8
_ARRAY: Final = 9


@dataclass(frozen=True, slots=True)
class Typed:
    """A value, or a list of values, of another type than the usual one.

    Args:
        kind: `u8`, `i8`, `u16`, `i16`, `u32`, `i32`, `f32`, `bool`, `u64`, `i64` or `f64`.
    """

    kind: str
    value: float | Sequence[float]


Entry = bool | int | float | str | Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str] | Typed
"""A value to write: u32, f32, bool, a string; in lists i32, f32, bool, strings."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file.

    Args:
        shape: values per dimension, ggml's order: the row's length first.
        type: its name, such as `q4_k`.
    """

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def size(self) -> int:
        """Bytes of its data, without padding."""
        kind = GGML_TYPES[TYPE_NUMBERS[self.type]]
        return prod(self.shape) // kind.block * kind.size


def gguf_header(
    metadata: Mapping[str, Entry], tensors: Sequence[TensorInfo], *, alignment: int = ALIGNMENT
) -> bytes:
    """Everything before the tensors' data, padded to where the data begins."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    parts += [text(key) + _value(value) for key, value in metadata.items()]
    offset = 0
    for tensor in tensors:
        dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        parts += [text(tensor.name), dimensions, struct.pack("<IQ", TYPE_NUMBERS[tensor.type], offset)]
        offset += aligned(tensor.size, alignment)
    header = b"".join(parts)
    return header.ljust(aligned(len(header), alignment), b"\0")


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """The size with padding."""
    return -(-size // alignment) * alignment


def text(value: str) -> bytes:
    """A string with its length."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Entry) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + text(value)
    if isinstance(value, bool | int | float):
        return _value(Typed(_kind(value, whole="u32"), value))
    if not isinstance(value, Typed):
        if value and isinstance(value[0], str):
            return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(text, _texts(value)))
        numbers = [one for one in value if not isinstance(one, str)]
        return _value(Typed(_kind(numbers[0] if numbers else 0, whole="i32"), numbers))
    number, code = _KINDS[value.kind]
    if isinstance(value.value, Sequence):
        length = len(value.value)
        return struct.pack(f"<IIQ{length}{code}", _ARRAY, number, length, *value.value)
    return struct.pack(f"<I{code}", number, value.value)


def _texts(values: Iterable[object]) -> list[str]:
    return [one for one in values if isinstance(one, str)]


def _kind(value: float, *, whole: str) -> str:
    if isinstance(value, bool):
        return "bool"
    return whole if isinstance(value, int) else "f32"
