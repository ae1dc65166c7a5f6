"""What a tensor takes in a buffer of a back end."""

from __future__ import annotations

from typing import Final

from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS, GgmlType

CARD_ALIGNMENT: Final = 128
"""ggml-cuda's `get_alignment`."""
HOST_ALIGNMENT: Final = 32
"""ggml-cpu's `TENSOR_ALIGNMENT`; pinned memory has the same."""
ROW: Final = 512
"""ggml-cuda's `MATRIX_ROW_PADDING`: the last row of a matrix in blocks is filled up to so many values."""


def padded(value: int, to: int) -> int:
    """The next multiple of `to`."""
    return -(-value // to) * to


def card_bytes(kind: GgmlType, row: int, size: int) -> int:
    """Bytes on a card of a tensor of `size` bytes with rows of `row` values.

    ggml-cuda's `ggml_backend_cuda_buffer_type_get_alloc_size`.
    """
    missing = -row % ROW
    extra = kind.row_bytes(missing) if kind.block > 1 and missing else 0
    return padded(size + extra, CARD_ALIGNMENT)


def host_bytes(size: int) -> int:
    """Bytes in a buffer of the CPU back end, of a tensor of `size` bytes."""
    return padded(size, HOST_ALIGNMENT)


def type_named(name: str) -> GgmlType:
    """The type of a cache by the name that the command line has; f16 for a name that is unknown."""
    return GGML_TYPES[TYPE_NUMBERS.get(name.lower(), TYPE_NUMBERS["f16"])]


def cache_bytes(kind: GgmlType, width: int, cells: int, *, on_card: bool) -> int:
    """Bytes of one cache tensor: `cells` rows of `width` values."""
    size = kind.row_bytes(padded(width, kind.block)) * cells
    return card_bytes(kind, width, size) if on_card else host_bytes(size)
