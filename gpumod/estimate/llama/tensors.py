"""A model's tensors: to which layer each belongs, and what it takes on each kind of device."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from gpumod.estimate.gguf.header import GgufHeader, Tensor
from gpumod.estimate.gguf.types import GGML_TYPES, GgmlType, tensor_bytes
from gpumod.estimate.llama.sizes import card_bytes, host_bytes

INPUT: Final = -1
"""The unit of tensors that are looked up by token: they stay on the host."""

_INPUTS: Final = frozenset({"token_embd", "position_embd", "token_types", "per_layer_token_embd"})
_FIRST: Final = frozenset({"per_layer_model_proj", "per_layer_proj_norm", "token_embd_norm"})
"""Tensors of the whole model that go with its first layer; lfm2 has the last one's norm under that name."""
_BLOCK: Final = re.compile(r"(?:(?:enc|dec)\.)?blk\.(\d{1,9})\.")
_UNUSED: Final = frozenset({"masked_embd_centroids", "masked_embd_ordering"})
_REPEATED: Final = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
_LAZY: Final = frozenset({"per_layer_token_embd.weight"})
_LAZY_FROM: Final = 4 << 30

_REPACKED: Final = frozenset({"q4_0", "q4_K", "q2_K", "iq4_nl", "mxfp4"})
"""Types that the CPU back end keeps in a layout of its own, on x86 with AVX2 (q2_K: AVX-512)."""


class Role(Enum):
    """What decides where a tensor goes, besides its layer."""

    PLAIN = "plain"
    REPEATED = "repeated"
    """One copy on every device that has a layer which uses it."""
    LAZY = "lazy"
    """Rows are read from the file when they are needed, whatever the load mode."""


class LlamaTensor(NamedTuple):
    """One tensor as llama.cpp loads it.

    Args:
        name: as in the file.
        unit: its layer; `INPUT`, or the number of layers for the output.
        card: bytes in a CUDA buffer.
        host: bytes in a buffer of the CPU back end.
        role: see there.
        repacked: multiplied with, the CPU back end keeps it in another layout: it cannot be looked up there.
    """

    name: str
    unit: int
    card: int
    host: int
    role: Role = Role.PLAIN
    repacked: bool = False


def model_tensors(header: GgufHeader, layers: int) -> tuple[LlamaTensor, ...]:
    """All tensors that llama.cpp can load (`llm_tensor_info_for` in `src/llama-arch.cpp`)."""
    return tuple(
        _loaded(tensor, _unit(tensor.name, header.architecture, layers))
        for tensor in header.tensors
        if tensor.name.partition(".")[0] not in _UNUSED
    )


def _loaded(tensor: Tensor, unit: int) -> LlamaTensor:
    kind = GGML_TYPES[tensor.type]
    size = tensor_bytes(tensor)
    role = Role.PLAIN
    if tensor.name in _REPEATED:
        role = Role.REPEATED
    elif tensor.name in _LAZY and size > _LAZY_FROM:
        role = Role.LAZY
    card = card_bytes(kind, tensor.shape[0] if tensor.shape else 1, size)
    return LlamaTensor(tensor.name, unit, card, host_bytes(size), role, _repacks(kind, tensor))


def _unit(tensor: str, architecture: str, layers: int) -> int:
    base = tensor.partition(".")[0]
    if base in _INPUTS:
        return INPUT
    if base in _FIRST and not (base == "token_embd_norm" and architecture.startswith("lfm2")):
        return 0
    block = _BLOCK.match(tensor)
    # A block beyond the count is in nobody's way: llama.cpp refuses the file.
    return min(int(block[1]), layers) if block is not None else layers


def _repacks(kind: GgmlType, tensor: Tensor) -> bool:
    """`ggml_repack_get_optimal_repack_type` in ggml-cpu's `repack.cpp`."""
    return kind.name in _REPACKED and len(tensor.shape) > 1 and tensor.shape[1] % 8 == 0
