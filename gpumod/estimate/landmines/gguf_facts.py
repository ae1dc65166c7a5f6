"""Questions about a GGUF that landmines ask; None where the header does not say."""

from __future__ import annotations

import re
from typing import Final

from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.llama.model import MOST_LAYERS

_BLOCK: Final = re.compile(r"blk\.(\d+)\.(.+)")
_PLAIN: Final = frozenset({"f32", "f16", "bf16"})
_VALUES_PER_BLOCK: Final = 32
"""Of every quantised type that llama.cpp offers for its KV cache (ggml-common.h: QK4_0, QK8_0 ...)."""


def is_quantised(kv_type: str) -> bool:
    """Whether a type of the KV cache comes in blocks."""
    return kv_type.lower() not in _PLAIN


def number(header: GgufHeader, key: str) -> int | None:
    """A whole number of the model's architecture; the largest where it has one per layer."""
    value = header.value(key)
    if isinstance(value, tuple):
        numbers = [one for one in value if isinstance(one, int)]
        return max(numbers, default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def trained_context(header: GgufHeader) -> int | None:
    """Tokens of context that the model was trained for."""
    return number(header, "context_length")


def heads_that_do_not_divide(header: GgufHeader, key: str) -> int | None:
    """A head's width that is no multiple of a quantised type's block.

    Args:
        header: the model's.
        key: `attention.key_length` or `attention.value_length`.
    """
    width = number(header, key)
    if width is None:
        embedding, heads = number(header, "embedding_length"), number(header, "attention.head_count")
        width = embedding // heads if embedding and heads else None
    return width if width and width % _VALUES_PER_BLOCK else None


def is_mla(header: GgufHeader) -> bool:
    """Whether it has multi-head latent attention as llama.cpp tells it: keys compressed to one latent."""
    return bool(number(header, "attention.key_length_mla"))


def nextn_layers(header: GgufHeader) -> int:
    """Layers that the header counts as heads for multi-token prediction."""
    return number(header, "nextn_predict_layers") or 0


def layers_present(header: GgufHeader) -> frozenset[int]:
    """The numbers of the layers of which there is any tensor."""
    return frozenset(
        int(match[1]) for tensor in header.tensors if (match := _BLOCK.match(tensor.name)) is not None
    )


def layers_missing(header: GgufHeader) -> tuple[int, ...]:
    """Layers that the header counts and the file does not have."""
    count = number(header, "block_count") or 0
    there = layers_present(header)
    # A header without any layer is a projector or something else that has none; one with more than any model
    # has is corrupt, and says nothing.
    if not there or count > MOST_LAYERS:
        return ()
    return tuple(layer for layer in range(count) if layer not in there and not _is_empty(header, layer))


def _is_empty(header: GgufHeader, layer: int) -> bool:
    """Whether a layer has neither attention nor a feed-forward part, as some of Nemotron Ultra (deci.cpp)."""
    heads, widths = header.value("attention.head_count"), header.value("feed_forward_length")
    lists = [one for one in (heads, widths) if isinstance(one, tuple) and layer < len(one)]
    return len(lists) == 2 and not any(one[layer] for one in lists)


def has_nextn(header: GgufHeader) -> bool:
    """Whether the last layers have the tensors that only a head for multi-token prediction has."""
    return any(
        match is not None and match[2].startswith("nextn.")
        for match in (_BLOCK.match(tensor.name) for tensor in header.tensors)
    )


def sliding_window(header: GgufHeader) -> int | None:
    """Tokens that the sliding-window layers look back; None where there are none."""
    return number(header, "attention.sliding_window") or None
