"""Compute buffers: what llama.cpp reserves for its graphs before the first token.

The graph of the largest batch is built as llama.cpp builds it, sizes only, and laid out by ggml's own rules
(`gpumod.estimate.llama.graph`), on the host as on cards: nothing here is fitted to measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.llama.graph.allocate import Backend
from gpumod.estimate.llama.graph.layers import decoder
from gpumod.estimate.llama.graph.schedule import reserve
from gpumod.estimate.llama.graph.source import Source, largest_batch
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting

CUDA: Final = Backend(gpu=True, alignment=128)
HOST_MEMORY: Final = Backend(gpu=False, alignment=32)
_SEEN_ENOUGH: Final = 3
"""A layer after another of the same kinds as so often before finds and leaves the same gaps."""


def compute_buffers(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> Devices:
    """What the graph of the largest batch takes on each card, and pinned on the host beside them.

    Raises:
        ModelFileError: a weight is missing that the model's layers need.
    """
    source = Source(model, setting, placement, largest_batch(model, setting))
    try:
        decoder(source, representative_layers(model, placement))
    except KeyError as error:
        raise ModelFileError(
            f"{model.header.path} has no tensor {error.args[0]}: it is incomplete"
        ) from error
    return reserved(source, pipeline=has_pipeline(model, setting, placement))


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
    weights = _weights_by_layer(model)
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


def _weights_by_layer(model: LlamaModel) -> dict[int, tuple[_Weight, ...]]:
    """Each layer's weights: name, shape and type."""
    found: dict[int, list[_Weight]] = {}
    for tensor in model.header.tensors:
        head, _, rest = tensor.name.partition(".")
        number, _, name = rest.partition(".")
        if head == "blk" and number.isascii() and number.isdigit():
            found.setdefault(int(number), []).append((name, tensor.shape, tensor.type))
    return {layer: tuple(own) for layer, own in found.items()}
