"""Compute buffers: what llama.cpp reserves for its graphs before the first token.

The graph of the largest batch is built as llama.cpp builds it, sizes only, and laid out by ggml's own rules
(`gpumod.estimate.llama.graph`), on the host as on cards: nothing here is fitted to measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

from gpumod.estimate.llama.graph.allocate import Backend
from gpumod.estimate.llama.graph.layers import decoder
from gpumod.estimate.llama.graph.recurrent import UnknownLayerError
from gpumod.estimate.llama.graph.schedule import reserve
from gpumod.estimate.llama.graph.source import Source, largest_batch
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting

CUDA: Final = Backend(gpu=True, alignment=128)
HOST_MEMORY: Final = Backend(gpu=False, alignment=32)
_SEEN_ENOUGH: Final = 2
"""A layer after another of the same kinds as so often before finds and leaves the same gaps."""


def compute_buffers(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> Devices:
    """What the graph of the largest batch takes on each card, and pinned on the host beside them.

    Of layers whose operations are not known here it is a bound instead.
    """
    source = Source(model, setting, placement, largest_batch(model, setting))
    try:
        decoder(source, representative_layers(model, placement))
    except (KeyError, UnknownLayerError):
        return _bound(source)
    return reserved(source, pipeline=has_pipeline(model, setting, placement))


def _bound(source: Source) -> Devices:
    """As much as a layer of these dimensions can need at once, with nothing given back in between."""
    model, setting, batch = source.model, source.setting, source.batch
    layer = max(model.layers, key=lambda one: one.heads * one.key)
    wide = max(one.feed_forward for one in model.layers)
    routed = max(
        one.experts_used * (3 * one.expert_feed_forward + 2 * model.embedding) for one in model.layers
    )
    recurs = model.recurrence
    state = 8 * (recurs.head * layer.heads + recurs.inner) if recurs is not None else 0
    values = 6 * model.embedding + max(3 * wide, routed, 6 * layer.heads * layer.key, state)
    mask = (2 if setting.flash_attention else 4) * setting.cells * batch.tokens
    scores = 0 if setting.flash_attention else 4 * setting.cells * batch.tokens * layer.heads
    halves = 2 * (layer.key_width + layer.value_width) * setting.context if setting.quantised_kv else 0
    # Without flash attention latent values are transposed into a copy (`llm_graph_context::build_attn_mha`).
    latent = 0 if setting.flash_attention else 2 * setting.context * _latent_width(model)
    states = 12 * batch.sequences * recurs.state_row if recurs is not None else 0
    logits = 4 * batch.outputs * (model.vocabulary + model.embedding)
    size = 4 * batch.tokens * values + mask * (1 + model.sliding) + scores + halves + latent + states + logits
    if setting.on_host:
        return Devices((size,))
    return Devices((size,) * setting.cards, mask + 4 * batch.tokens * model.embedding)


def _latent_width(model: LlamaModel) -> int:
    """Values of one cell of latent attention; 0 without it."""
    return 0 if model.mla is None else max(one.key_width for one in model.layers)


def reserved(source: Source, *, pipeline: bool) -> Devices:
    """The compute buffers of a finished graph."""
    if source.setting.on_host:
        return Devices(reserve(source.graph, (HOST_MEMORY,)))
    backends = (*(CUDA,) * source.setting.cards, HOST_MEMORY)
    sizes = reserve(source.graph, backends, pipeline=pipeline, offload=source.setting.operation_offload)
    return Devices(sizes[:-1], sizes[-1])


def output_buffer(model: LlamaModel, setting: LlamaSetting) -> Devices:
    """Logits and embeddings of the tokens with outputs, on the host (`llama_context::output_reserve`).

    It is reserved for one output per slot and grows to the batch's on first use.
    """
    width = model.vocabulary + (model.embedding_out if setting.embeddings else 0)
    size = 4 * width * max(setting.slots, setting.outputs)
    return Devices((size,)) if setting.on_host else Devices((0,) * setting.cards, size)


def has_pipeline(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> bool:
    """Whether llama.cpp works on several batches at once: only with everything on several cards."""
    return (
        setting.cards > 1
        and setting.split_mode == "layer"
        and setting.gpu_layers > len(model.layers)
        and setting.kv_offload
        and not placement.moved
        and not setting.overrides
        and not setting.cpu_moe_layers
    )


def representative_layers(model: LlamaModel, placement: Placement) -> tuple[int, ...]:
    """The layers whose graph is as demanding as that of all of them: the last, and some of each kind."""
    # A weight's type matters only where it is copied to a card.
    weights = _weights_by_layer(model, typed=not placement.whole)
    moved = {name for name, _ in placement.moved}
    kinds: dict[Hashable, int] = {}
    seen: Counter[tuple[int, int]] = Counter()
    chosen: list[int] = []
    before = -1
    for index, layer in enumerate(model.trunk):
        own = weights.get(index, ())
        elsewhere = tuple(name for name, _, _ in own if f"blk.{index}.{name}" in moved)
        kind = kinds.setdefault((placement.layers[index], layer, own, elsewhere), len(kinds))
        seen[before, kind] += 1
        if seen[before, kind] <= _SEEN_ENOUGH or index == len(model.trunk) - 1:
            chosen.append(index)
        before = kind
    return tuple(chosen)


_Weight = tuple[str, tuple[int, ...], int]


def _weights_by_layer(model: LlamaModel, *, typed: bool) -> dict[int, tuple[_Weight, ...]]:
    """Each layer's weights: name, shape, and where it is asked for the type."""
    found: dict[int, list[_Weight]] = {}
    for tensor in model.header.tensors:
        head, _, rest = tensor.name.partition(".")
        number, _, name = rest.partition(".")
        if head == "blk" and number.isascii() and number.isdigit():
            found.setdefault(int(number), []).append((name, tensor.shape, tensor.type if typed else 0))
    return {layer: tuple(own) for layer, own in found.items()}
