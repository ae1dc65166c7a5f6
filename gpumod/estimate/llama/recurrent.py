"""The state of recurrent layers, which does not grow with the context.

llama.cpp's `llama_memory_recurrent` (`src/llama-memory-recurrent.cpp`): two tensors per layer, always f32,
with a row per slot and per drafted token that may have to be taken back.
"""

from __future__ import annotations

from gpumod.estimate.llama.cache import by_layer
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.placement import HOST, Devices, Placement
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.sizes import cache_bytes, type_named


def recurrent_state(model: LlamaModel, setting: LlamaSetting, placement: Placement) -> Devices:
    """Bytes of the states on each device."""
    aside = not setting.kv_offload and not setting.on_host
    return by_layer(
        placement,
        setting,
        [
            state_layer(model, setting, index, on_card=not aside and device != HOST)
            for index, device in enumerate(placement.layers)
        ],
    )


def state_units(model: LlamaModel, setting: LlamaSetting) -> tuple[int, ...]:
    """Bytes on a card of each layer's state; nothing where the caches stay on the host."""
    if not setting.kv_offload and not setting.on_host:
        return (0,) * len(model.layers)
    return tuple(state_layer(model, setting, index, on_card=True) for index in range(len(model.layers)))


def state_layer(model: LlamaModel, setting: LlamaSetting, index: int, *, on_card: bool) -> int:
    """Bytes of one layer's two states. Arguments as in `kv_layer`."""
    layer, shape = model.layers[index], model.recurrence
    if shape is None or not layer.recurrent or layer.nextn:
        return 0
    rows, kind, there = setting.state_rows(model), type_named("f32"), on_card and not setting.on_host
    return sum(
        cache_bytes(kind, width, rows, on_card=there) for width in (shape.convolution_row, shape.state_row)
    )
