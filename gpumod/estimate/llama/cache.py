"""The KV cache, layer by layer.

llama.cpp's `llama_kv_cache` and `llama_kv_cache_iswa` (`src/llama-kv-cache.cpp`, `-iswa.cpp`): one tensor of
keys and one of values for each layer that keeps its own, all streams in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpumod.estimate.llama.model import LlamaLayer, LlamaModel
from gpumod.estimate.llama.placement import HOST, Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.sizes import cache_bytes, type_named


def kv_cache(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> Devices:
    """Bytes of the caches on each device."""
    return by_layer(
        placement,
        setting,
        [kv_layer(model, setting, i, on_card=device != HOST) for i, device in _caching(setting, placement)],
    )


def kv_units(model: LlamaModel, setting: LlamaSetting) -> tuple[int, ...]:
    """Bytes on a card of each layer's cache; nothing where the caches stay on the host."""
    if not setting.kv_offload and not setting.on_host:
        return (0,) * len(model.layers)
    return tuple(kv_layer(model, setting, index, on_card=True) for index in range(len(model.layers)))


def kv_layer(model: LlamaModel, setting: LlamaSetting, index: int, *, on_card: bool) -> int:
    """Bytes of one layer's keys and values.

    Args:
        model: the model.
        setting: the launch.
        index: which layer.
        on_card: it is in a card's memory: matrices in blocks are filled up there.
    """
    layer = model.layers[index]
    if not model.memory or not layer.own_kv or layer.nextn:
        return 0
    return layer_bytes(model, setting, layer, on_card=on_card and not setting.on_host)


def layer_bytes(model: LlamaModel, setting: LlamaSetting, layer: LlamaLayer, *, on_card: bool) -> int:
    """Bytes of the keys and values of a layer that keeps its own."""
    cells = setting.cells
    if layer.sliding and not model.indexer:
        cells = setting.window_cells(model)
    cells *= setting.slots
    size = cache_bytes(type_named(setting.key_type), layer.key_width, cells, on_card=on_card)
    if model.mla is None:
        width = layer.value_width
        if not setting.flash_attention:
            # Values are kept transposed then, every layer's as wide as the widest one's.
            width = max(other.value_width for other in model.layers)
        size += cache_bytes(type_named(setting.value_type), width, cells, on_card=on_card)
    if model.indexer:
        size += cache_bytes(type_named("f32"), model.indexer, cells, on_card=on_card)
    return size


def by_layer(placement: Placement, setting: LlamaSetting, sizes: Sequence[int]) -> Devices:
    """Bytes of each layer summed up where the layers' caches are."""
    cards, host = [0] * setting.cards, 0
    for (_, device), size in zip(_caching(setting, placement), sizes, strict=True):
        if device == HOST:
            host += size
        else:
            cards[device] += size
    return Devices(tuple(cards), host)


def _caching(setting: LlamaSetting, placement: Placement) -> list[tuple[int, int]]:
    """Each layer with the device that has its cache."""
    if setting.kv_offload or setting.on_host:
        return list(enumerate(placement.layers))
    return [(index, HOST) for index in range(len(placement.layers))]
