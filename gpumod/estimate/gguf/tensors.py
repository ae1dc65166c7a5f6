"""The list of tensors of a GGUF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Final

from gpumod.estimate.gguf.header import SkippedArray, Tensor, Value
from gpumod.estimate.gguf.metadata import read_name
from gpumod.estimate.gguf.source import Source, shown
from gpumod.estimate.gguf.types import GGML_TYPES, tensor_bytes

_MOST_DIMENSIONS: Final = 4
_LONGEST_NAME: Final = 255
"""ggml is built with 64 (`GGML_MAX_NAME`), some programs with more."""
_MOST_VALUES: Final = 2**63
_TENSOR_MEMORY: Final = 600
"""What CPython takes for a tensor with its name, its shape and its place in a set, rounded up."""

_DEFAULT_ALIGNMENT: Final = 32


def read_tensors(source: Source, count: int, part: int) -> tuple[list[Tensor], list[int]]:
    """Read so many tensors: what they are, and where their data begins behind the header.

    Raises:
        ModelFileError: the list is cut off, corrupt or longer than that of any model.
    """
    tensors: list[Tensor] = []
    offsets: list[int] = []
    for _ in range(count):
        source.keep(_TENSOR_MEMORY)
        name = read_name(source, "tensor's name", _LONGEST_NAME)
        dimensions = source.u32()
        if dimensions > _MOST_DIMENSIONS:
            source.fail(f"is corrupt: {shown(name)} has {dimensions} dimensions; fetch it again")
        *shape, kind, offset = struct.unpack(f"<{dimensions}QIQ", source.take(8 * dimensions + 12))
        tensor = Tensor(name, kind, tuple(shape), part)
        _check(source, tensor)
        tensors.append(tensor)
        offsets.append(offset)
    return tensors, offsets


def check_data(
    source: Source,
    tensors: list[Tensor],
    offsets: list[int],
    metadata: Mapping[str, Value | SkippedArray],
) -> None:
    """Check that the tensors' data lies where llama.cpp looks for it, and that all of it is there.

    The data begins at the next multiple of the alignment; each tensor follows the one before it, padded to
    the alignment, except the last, whose padding may be missing (`gguf_init_from_reader` in gguf.cpp).

    Raises:
        ModelFileError: the file ends too early, or the tensors lie elsewhere.
    """
    alignment = _alignment(source, metadata)
    expected = end = 0
    for tensor, offset in zip(tensors, offsets, strict=True):
        if offset != expected:
            source.fail(
                f"is corrupt: {shown(tensor.name)} begins at {offset} instead of {expected}; fetch it again"
            )
        end = offset + tensor_bytes(tensor)
        expected = _aligned(end, alignment)
    missing = _aligned(source.position, alignment) + end - source.size
    if end and missing > 0:
        source.fail(f"is {missing} byte{'s' * (missing > 1)} short: the download was cut off; fetch it again")


def _check(source: Source, tensor: Tensor) -> None:
    kind = GGML_TYPES.get(tensor.type)
    if kind is None:
        source.fail_unknown(
            f"has a tensor, {shown(tensor.name)}, of the unknown type {tensor.type}: "
            "it is corrupt, or made for a program that is newer or other than llama.cpp"
        )
    row = tensor.shape[0] if tensor.shape else 1
    if row % kind.block:
        source.fail(
            f"is corrupt: the rows of {shown(tensor.name)} have {row} values, "
            f"no multiple of {kind.name}'s {kind.block}; fetch it again"
        )
    if any(values >= _MOST_VALUES for values in (*tensor.shape, prod(tensor.shape), tensor_bytes(tensor))):
        source.fail(f"is corrupt: {shown(tensor.name)} is larger than any memory; fetch it again")


def _alignment(source: Source, metadata: Mapping[str, Value | SkippedArray]) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0 or value & (value - 1):
        source.fail("is corrupt: its general.alignment is not a power of two; fetch it again")
    return value


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
