"""ggml's tensor types, and what a tensor of one takes."""

from __future__ import annotations

from math import prod
from typing import Final, NamedTuple

from gpumod.estimate.gguf.header import Tensor


class GgmlType(NamedTuple):
    """A tensor type.

    Args:
        name: as llama.cpp prints it.
        block: values that are packed together.
        size: bytes of a block.
    """

    name: str
    block: int
    size: int

    def row_bytes(self, values: int) -> int:
        """Bytes of a row of so many values (`ggml_row_size`); a row begins a new block."""
        return values // self.block * self.size


GGML_TYPES: Final[dict[int, GgmlType]] = {
    0: GgmlType("f32", 1, 4),
    1: GgmlType("f16", 1, 2),
    2: GgmlType("q4_0", 32, 18),
    3: GgmlType("q4_1", 32, 20),
    6: GgmlType("q5_0", 32, 22),
    7: GgmlType("q5_1", 32, 24),
    8: GgmlType("q8_0", 32, 34),
    9: GgmlType("q8_1", 32, 36),
    10: GgmlType("q2_K", 256, 84),
    11: GgmlType("q3_K", 256, 110),
    12: GgmlType("q4_K", 256, 144),
    13: GgmlType("q5_K", 256, 176),
    14: GgmlType("q6_K", 256, 210),
    15: GgmlType("q8_K", 256, 292),
    16: GgmlType("iq2_xxs", 256, 66),
    17: GgmlType("iq2_xs", 256, 74),
    18: GgmlType("iq3_xxs", 256, 98),
    19: GgmlType("iq1_s", 256, 50),
    20: GgmlType("iq4_nl", 32, 18),
    21: GgmlType("iq3_s", 256, 110),
    22: GgmlType("iq2_s", 256, 82),
    23: GgmlType("iq4_xs", 256, 136),
    24: GgmlType("i8", 1, 1),
    25: GgmlType("i16", 1, 2),
    26: GgmlType("i32", 1, 4),
    27: GgmlType("i64", 1, 8),
    28: GgmlType("f64", 1, 8),
    29: GgmlType("iq1_m", 256, 56),
    30: GgmlType("bf16", 1, 2),
    34: GgmlType("tq1_0", 256, 54),
    35: GgmlType("tq2_0", 256, 66),
    39: GgmlType("mxfp4", 32, 17),
    40: GgmlType("nvfp4", 64, 36),
    41: GgmlType("q1_0", 128, 18),
    42: GgmlType("q2_0", 64, 18),
}
"""By ggml's number (`enum ggml_type` in ggml.h, block structures in ggml-common.h).

The numbers between belong to types that files may no longer have (4 and 5, 31 to 33, 36 to 38).
"""

TYPE_NUMBERS: Final = {kind.name.lower(): number for number, kind in GGML_TYPES.items()}
"""ggml's number by the type's name in lower case, such as `q8_0`."""


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of the tensor's data (`ggml_nbytes`), without the padding after it.

    Raises:
        KeyError: the type is none of `GGML_TYPES`; `read_gguf` lets no such tensor through.
    """
    kind = GGML_TYPES[tensor.type]
    return prod(tensor.shape) // kind.block * kind.size
